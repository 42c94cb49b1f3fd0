"""What an event waits for is told as it is when it is read."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from headrace.store.database import Database
from headrace.store.events import TriggerWait
from headrace.triggers.waits import told_fates, wait_of

from tests.support.triggers import trigger_stack, webhook, write_triggers

NOW = datetime(2026, 1, 1, 16, 40, tzinfo=UTC)
PLAIN = {"pipeline": "p", "name": "t", "kind": "api", "when": {}}


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ({"batch": {"delay": 60, "max_count": 10}}, "for its batch: 3 of 10, until 16:40:55 UTC"),
        ({"batch": {"delay": 60, "max_wait": 50}}, "for its batch: 3 so far, until 16:40:20 UTC"),
        ({"batch": {"delay": 86400}}, "for its batch: 3 so far, until 2026-01-02 16:39:55 UTC"),
        ({"batch": {"delay": 60, "max_count": 3}}, "for its batch: 3 of 3, due now"),
        ({"batch": {"delay": 1}}, "for its batch: 3 so far, due now"),
        ({"backfill": {"last": 3}}, "for its backfill to be made"),
        ({}, "for its run to be made"),
    ],
)
def test_an_active_triggers_events_wait_for_what_it_makes(keys: dict[str, Any], told: str) -> None:
    first, last = NOW - timedelta(seconds=30), NOW - timedelta(seconds=5)
    assert wait_of(TriggerWait(1, "active", None, {**PLAIN, **keys}, 3, first, last, NOW)) == told


def test_other_triggers_events_wait_for_their_trigger() -> None:
    told = [
        wait_of(TriggerWait(1, status, reason, {}, 1, NOW, NOW, NOW))
        for status, reason in (("inactive", None), ("broken", "line 3"), ("inactive", "its file no longer names it"))
    ]
    assert told[:2] == ["until its trigger is active again", "until its trigger is mended: line 3"]
    assert "dead letter" in told[2]


async def test_the_reason_follows_what_came_since(database: Database, root: Path) -> None:
    write_triggers(root, "orders", [webhook("hook", batch={"delay": 3600, "max_count": 10}), webhook("other", "hook")])
    async with trigger_stack(database, root) as stack:
        for count in (1, 2):
            accepted = await stack.acceptor.accept(stack.event("webhook:hook", str(count)))
            fates = {fate.name: fate for fate in await told_fates(database, [accepted.event])}
            assert (fates["hook"].reason or "").startswith(f"for its batch: {count} of 10, until ")
            assert fates["other"].reason is None
