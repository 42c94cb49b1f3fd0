"""Gaps are counted all the time, for every schedule, without being asked for."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from headrace.domain.retention import ProjectRetention, Retention
from headrace.store.database import Database
from headrace.triggers.gap_watch import GapWatch

from tests.support.triggers import TriggerStack, make_stack, write_triggers

ENABLED = datetime(2026, 3, 1, tzinfo=UTC)
NOW = datetime(2026, 3, 8, 12, tzinfo=UTC)


def daily(name: str, **keys: object) -> dict[str, object]:
    return {"name": name, "schedule_interval": "0 6 * * *", **keys}


async def watch_of(stack: TriggerStack, retention: Retention = Retention()) -> GapWatch:  # noqa: B008 - frozen
    """A watch over triggers that were enabled on the first of March; it is the eighth."""
    await stack.database.execute("UPDATE headrace.trigger SET enabled_at = $1", ENABLED)
    await stack.book.look()
    return GapWatch(
        stack.database, stack.book, {stack.project.id: lambda: ProjectRetention(retention)}, lambda: NOW, rest=0.0
    )


async def completed(stack: TriggerStack, at: datetime) -> None:
    async with stack.database.transaction() as connection:
        accepted = await stack.acceptor.start_in(
            connection, stack.event("manual", str(at), execution_date=at), "orders"
        )
    await stack.database.execute(
        "UPDATE headrace.run SET status = 'completed', finished_at = now() WHERE id = ANY ($1::bigint[])",
        list(accepted.runs),
    )


async def test_each_schedules_gaps_are_counted_and_told_when_there_are_more(
    database: Database, root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_triggers(root, "orders", [daily("daily"), daily("always", schedule_interval="@always_on")])
    stack = await make_stack(database, root)
    watch = await watch_of(stack)
    number = stack.trigger_id("daily")
    with caplog.at_level(logging.WARNING):
        await watch.look()
    assert watch.gaps == {number: 7}
    assert [record.getMessage() for record in caplog.records] == [
        "orders/daily has 7 slots without a good run: see `headrace schedule gaps orders/daily`"
    ]
    caplog.clear()
    for day in range(1, 4):
        await completed(stack, datetime(2026, 3, day, 6, tzinfo=UTC))
    await watch.look()
    assert watch.gaps == {number: 4}
    assert not caplog.records
    write_triggers(root, "orders", [])
    await stack.book.look()
    await watch.look()
    assert watch.gaps == {}


async def test_slots_from_before_runs_are_kept_are_no_gaps(database: Database, root: Path) -> None:
    write_triggers(root, "orders", [daily("daily")])
    stack = await make_stack(database, root)
    watch = await watch_of(stack, Retention(runs=timedelta(days=3).total_seconds()))
    await watch.look()
    assert watch.gaps == {stack.trigger_id("daily"): 2}


async def test_a_schedule_of_very_many_slots_is_looked_at_for_less_time(database: Database, root: Path) -> None:
    write_triggers(root, "orders", [daily("often", schedule_interval="* * * * *")])
    stack = await make_stack(database, root)
    watch = await watch_of(stack)
    await watch.look()
    assert 1000 < watch.gaps[stack.trigger_id("often")] <= 5000
