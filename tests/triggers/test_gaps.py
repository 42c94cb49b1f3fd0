"""Slots without a good run are found, and filled by one backfill."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from headrace.domain.schedules import Schedule
from headrace.domain.triggers import Trigger, TriggerKind
from headrace.store.database import Database
from headrace.triggers.backfilling import Backfilling
from headrace.triggers.backfills import Backfills
from headrace.triggers.gaps import FilledGaps, GapSearch
from headrace.triggers.slots import Slots
from headrace.triggers.timing import Timing
from headrace.triggers.watching import Watch

from tests.support.triggers import TriggerStack, make_stack, write_triggers

START = datetime(2026, 3, 27, tzinfo=UTC)
NOW = datetime(2026, 4, 1, 12, tzinfo=UTC)
SCHEDULE = Schedule(("0 6 * * *",), timezone="Europe/Berlin")


DAILY = {
    "name": "daily",
    "schedule_interval": "0 6 * * *",
    "timezone": "Europe/Berlin",
    "variables": {"taxi": "green", "lab": "{{ occurred_at }} {{ key }}"},
    "max_active_runs": 50,
    "timeout": 90,
    "allow_blocks_to_fail": True,
    "priority": 3,
}


@pytest.fixture
async def stack(database: Database, root: Path) -> TriggerStack:
    write_triggers(root, "orders", [DAILY])
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
        "SELECT execution_date, variables, priority FROM headrace.run WHERE id = ANY ($1) ORDER BY id",
        stack.made[before:],
    )
    assert [row["execution_date"] for row in rows] == [gap.start for gap in gaps]
    assert {row["variables"]["taxi"] for row in rows} == {"green"}
    for row in rows:
        assert row["variables"]["interval_start_datetime"] == {"$datetime": row["execution_date"].isoformat()}
        assert row["priority"] < 0
    assert [gap.reason for gap in await search(stack).find(START, NOW)] == []


async def made_as(stack: TriggerStack, run: int) -> dict[str, Any]:
    """All that a run was made with, but for its priority."""
    row = await stack.database.fetchrow(
        "SELECT version, variables, execution_date, trigger_id, gates, gate_caps FROM headrace.run WHERE id = $1", run
    )
    return dict(row)


async def test_a_filled_slot_is_as_its_own_run_would_have_been(stack: TriggerStack) -> None:
    await search(stack).fill(START, NOW, concurrency=50)
    await Backfills(stack.database, stack.acceptor, stack.book, [stack.project.id]).look()
    filled = list(stack.made)
    (known,) = stack.book.active()
    timing = Timing(Slots(SCHEDULE), known.trigger.source)
    watch = Watch(known, timing, START)
    watch.begin(START)
    watch.take(NOW)
    late = [watch.event(timed) for timed in watch.pending][: len(filled)]
    async with stack.database.transaction() as connection:
        own = [run for answer in await stack.acceptor.accept_in(connection, late) for run in answer.runs]
    assert len(own) == len(filled) == 5
    for mine, its in zip(filled, own, strict=True):
        assert await made_as(stack, mine) == await made_as(stack, its)
    first = await made_as(stack, filled[0])
    assert first["variables"]["lab"] == "2026-03-27 05:00:00+00:00 2026-03-27T06:00:00[Europe/Berlin]"
    assert first["trigger_id"] == known.id
    assert first["gate_caps"] == [50]
    definition = await stack.database.fetchval(
        "SELECT definition FROM headrace.pipeline_version WHERE hash = $1", first["version"]
    )
    assert (definition["timeout"], definition["allow_blocks_to_fail"]) == (90, True)


async def test_a_gap_of_a_trigger_that_cannot_be_used_waits_for_it(stack: TriggerStack, root: Path) -> None:
    number = (await search(stack).fill(START, NOW)).backfill
    assert number is not None
    write_triggers(root, "orders", [{**DAILY, "schedule_interval": "every so often"}])
    await stack.book.look()
    await Backfills(stack.database, stack.acceptor, stack.book, [stack.project.id]).look()
    shown = await Backfilling(stack.database).show(number)
    assert (shown.status, shown.running) == ("running", 0)
    assert "orders/daily" in (shown.reason or "")


async def test_a_schedule_that_has_begun_later_expects_nothing_before(stack: TriggerStack) -> None:
    late = Schedule(("@daily",), start=NOW - timedelta(days=2, hours=13))
    assert len(await search(stack, late).find(START, NOW)) == 2
    assert await search(stack, Schedule(("@daily",), end=START)).find(START, NOW) == []
