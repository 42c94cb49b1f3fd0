"""Slots without a good run are found, and filled by one backfill."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from headrace.domain.schedules import Schedule
from headrace.domain.triggers import Trigger, TriggerKind
from headrace.store.database import Database
from headrace.triggers.backfills import Backfills
from headrace.triggers.gaps import FilledGaps, GapSearch

from tests.support.triggers import TriggerStack, make_stack

START = datetime(2026, 3, 27, tzinfo=UTC)
NOW = datetime(2026, 4, 1, 12, tzinfo=UTC)
SCHEDULE = Schedule(("0 6 * * *",), timezone="Europe/Berlin")


@pytest.fixture
async def stack(database: Database, root: Path) -> TriggerStack:
    return await make_stack(database, root)


def search(stack: TriggerStack, schedule: Schedule = SCHEDULE) -> GapSearch:
    trigger = Trigger("orders", "daily", TriggerKind.SCHEDULE, schedule, variables={"taxi": "green"})
    return GapSearch(stack.database, stack.project.id, trigger, schedule)


async def run_for(stack: TriggerStack, at: datetime, *statuses: str) -> None:
    """Runs for a slot that ended so, one after another."""
    for status in statuses:
        (run,) = await _made(stack, at)
        await stack.database.execute("UPDATE headrace.run SET status = 'running' WHERE id = $1", run)
        await stack.database.execute(
            "UPDATE headrace.run SET status = $2, finished_at = now() WHERE id = $1", run, status
        )


async def _made(stack: TriggerStack, at: datetime) -> Sequence[int]:
    event = stack.event("manual", f"{at}{len(stack.made)}", execution_date=at)
    async with stack.database.transaction() as connection:
        accepted = await stack.acceptor.start_in(connection, event, "orders")
    stack.acceptor.announce([accepted])
    return accepted.runs


async def test_slots_that_are_over_and_have_no_good_run_are_gaps(stack: TriggerStack) -> None:
    slots = [datetime(2026, 3, 27, 5, tzinfo=UTC), datetime(2026, 3, 28, 5, tzinfo=UTC)]
    slots += [datetime(2026, 3, day, 4, tzinfo=UTC) for day in (29, 30, 31)]
    await run_for(stack, slots[0], "failed", "completed")
    await run_for(stack, slots[1], "completed", "failed")
    await run_for(stack, slots[3], "cancelled")
    found = await search(stack).find(START, NOW)
    assert [(gap.start, gap.reason) for gap in found] == [
        (slots[1], "its newest run is failed"),
        (slots[2], "no run"),
        (slots[3], "its newest run is cancelled"),
        (slots[4], "no run"),
    ]
    assert [gap.end for gap in found][:2] == [slots[2], slots[3]]


async def test_filling_makes_one_backfill_of_exactly_the_gaps(stack: TriggerStack) -> None:
    await run_for(stack, datetime(2026, 3, 28, 5, tzinfo=UTC), "completed")
    before = len(stack.made)
    gaps = await search(stack).find(START, NOW)
    filled = await search(stack).fill(START, NOW, concurrency=50)
    assert list(filled.gaps) == gaps
    assert await search(stack).find(START, NOW) == []  # a backfill is about to run them: nobody fills them twice
    assert await search(stack).fill(START, NOW) == FilledGaps((), None)
    await Backfills(stack.database, stack.acceptor, stack.book, [stack.project.id]).look()
    rows = await stack.database.fetch(
        "SELECT execution_date, variables FROM headrace.run WHERE id = ANY ($1) ORDER BY id", stack.made[before:]
    )
    assert [row["execution_date"] for row in rows] == [gap.start for gap in gaps]
    assert {row["variables"]["taxi"] for row in rows} == {"green"}
    for row in rows:
        assert row["variables"]["interval_start_datetime"] == {"$datetime": row["execution_date"].isoformat()}
    assert [gap.reason for gap in await search(stack).find(START, NOW)] == []


async def test_a_schedule_that_has_begun_later_expects_nothing_before(stack: TriggerStack) -> None:
    late = Schedule(("@daily",), start=NOW - timedelta(days=2, hours=13))
    assert len(await search(stack, late).find(START, NOW)) == 2
    assert await search(stack, Schedule(("@daily",), end=START)).find(START, NOW) == []
