"""Whether what was sent and what ran agree with what is recorded: nothing lost, nothing doubled."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import asyncpg

from tests.chaos.scene import EXPECTED, Errand
from tests.chaos.writers import Sent

FATES = """
SELECT e.id, e.source, e.key, COALESCE(t.name, '') AS trigger, f.fate, f.run_id
FROM headrace.event e LEFT JOIN headrace.event_fate f ON f.event_id = e.id
LEFT JOIN headrace.trigger t ON t.id = f.trigger_id
"""
BODIES = """
SELECT run_id || ' ' || block AS block, status, attempt, kept_from FROM headrace.block_run
"""


async def delivery_faults(connection: asyncpg.Connection[Any], sent: Sent) -> list[str]:
    """Events that were accepted and are not there, and those that came to another fate than they should have."""
    events: dict[tuple[str, str], int] = {}
    fates: dict[int, dict[str, str]] = {}
    for row in await connection.fetch(FATES):
        events[row["source"], row["key"]] = row["id"]
        if row["fate"] is not None:
            fates.setdefault(row["id"], {})[row["trigger"]] = row["fate"]
    found = []
    for errand, answer in sent.answers.items():
        event = events.get((errand.source or "manual", errand.key))
        if event != answer["event"]:
            found.append(f"an event was accepted as {answer['event']} and is {event}: {errand.source} {errand.key}")
        else:
            found += _fate_faults(errand, event, fates.get(event, {}))
    return found + _unsent(events, sent)


def _fate_faults(errand: Errand, event: int, fates: dict[str, str]) -> list[str]:
    expected = EXPECTED[errand.source] if errand.source else {"": lambda payload: ("run",)}
    missing = [f"event {event} has no fate for trigger {name}" for name in expected.keys() - fates.keys()]
    wrong = [
        f"event {event} is {fate} for trigger {name}"
        for name, fate in fates.items()
        if name not in expected or fate not in expected[name](errand.payload)
    ]
    return missing + wrong


def _unsent(events: dict[tuple[str, str], int], sent: Sent) -> list[str]:
    """Events from outside that nobody sent."""
    known = {(errand.source or "manual", errand.key) for errand in sent.answers}
    return [
        f"event {number} was never sent: {source} {key}"
        for (source, key), number in events.items()
        if (source in EXPECTED or source == "manual") and (source, key) not in known and not key.startswith("first-")
    ]


async def ledger_faults(connection: asyncpg.Connection[Any], ledger: Path) -> list[str]:
    """Blocks that ended without their body having run, and bodies that ran more often than attempts began."""
    ran = Counter(ledger.read_text().splitlines()) if ledger.exists() else Counter[str]()
    rows = await connection.fetch(BODIES)
    found = [
        f"a block completed and its body never ran: {row['block']}"
        for row in rows
        if row["status"] == "completed" and row["kept_from"] is None and not ran[row["block"]]
    ]
    found += [
        f"a body ran {ran[row['block']]} times in {row['attempt']} attempts: {row['block']}"
        for row in rows
        if ran[row["block"]] > row["attempt"]
    ]
    return found + [f"a body ran for no block: {block}" for block in ran.keys() - {row["block"] for row in rows}]
