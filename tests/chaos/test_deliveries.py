"""What a storm compares beside the database's own history: answers, fates and the ledger of bodies that ran."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from headrace.store.database import Database

from tests.chaos.deliveries import delivery_faults, ledger_faults
from tests.chaos.scene import Errand
from tests.chaos.writers import Sent

HISTORY = """
INSERT INTO headrace.project (path, name) VALUES ('/p', 'p');
INSERT INTO headrace.pipeline_version (hash, pipeline, definition) VALUES ('v', 'p', '{}');
INSERT INTO headrace.trigger (project_id, pipeline, name, kind, origin, source, status, definition)
VALUES (1, 'p', 'gathered', 'webhook', 'file', 'webhook:stream', 'active', '{}');
INSERT INTO headrace.event (project_id, source, kind, key, occurred_at)
VALUES (1, 'webhook:stream', 'storm', 'a', now());
INSERT INTO headrace.run (project_id, pipeline, version, trigger_id) VALUES (1, 'p', 'v', 1);
INSERT INTO headrace.block_run (run_id, block, position, status, attempt) VALUES (1, 'only', 0, 'completed', 1);
INSERT INTO headrace.event_fate (event_id, trigger_id, fate, run_id) VALUES (1, 1, 'run', 1);
"""
SENT = Errand("a", {}, "webhook:stream")
ANSWER = {"event": 1, "is_new": True, "fates": [[1, "run", 1]]}


@pytest.mark.parametrize(
    ("breach", "told"),
    [
        ("SELECT 1", []),
        ("DELETE FROM headrace.event", ["an event was accepted as 1 and is None: webhook:stream a"]),
        ("DELETE FROM headrace.event_fate", ["event 1 has no fate for trigger gathered"]),
        (
            "DELETE FROM headrace.event_fate; INSERT INTO headrace.event_fate VALUES (1, 1, 'dead', 'why')",
            ["event 1 is dead for trigger gathered"],
        ),
        (
            "INSERT INTO headrace.event (project_id, source, kind, key, occurred_at) VALUES (1, 'manual', 's', 'b', now())",
            ["event 2 was never sent: manual b"],
        ),
    ],
)  # fmt: skip
async def test_what_was_sent_is_compared_with_what_is_recorded(database: Database, breach: str, told: list[str]):
    sent = Sent()
    sent.note(SENT, ANSWER)
    async with database.connection() as connection:
        await connection.execute(HISTORY)
        await connection.execute(breach)
        assert await delivery_faults(connection, sent) == told


@pytest.mark.parametrize(
    ("ledger", "told"),
    [
        ("1 only\n", []),
        ("", ["a block completed and its body never ran: 1 only"]),
        ("1 only\n1 only\n", ["a body ran 2 times in 1 attempts: 1 only"]),
        ("1 only\n2 only\n", ["a body ran for no block: 2 only"]),
    ],
)
async def test_bodies_that_ran_are_compared_with_attempts(
    database: Database, tmp_path: Path, ledger: str, told: list[str]
):
    (tmp_path / "ledger").write_text(ledger)
    async with database.connection() as connection:
        await connection.execute(HISTORY)
        assert await ledger_faults(connection, tmp_path / "ledger") == told


@pytest.mark.parametrize(
    ("second", "agrees"),
    [
        ({"event": 1, "is_new": False, "fates": [[1, "run", 1]]}, True),
        ({"event": 1, "is_new": True, "fates": [[1, "run", 1]]}, False),
        ({"event": 2, "is_new": False, "fates": [[1, "run", 1]]}, False),
        ({"event": 1, "is_new": False, "fates": [[1, "run", 2]]}, False),
        ({"event": 1, "is_new": False, "fates": []}, False),
        ({"event": 1, "is_new": False, "fates": [[1, "waiting", None]]}, True),
    ],
)
def test_the_same_event_sent_again_must_get_the_same_answer(second: dict[str, Any], agrees: bool):
    sent = Sent()
    sent.note(SENT, ANSWER)
    sent.note(SENT, second)
    assert sent.repeats == 1
    assert (sent.faults == []) is agrees
