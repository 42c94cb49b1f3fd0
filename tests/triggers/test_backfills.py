"""Backfills make what their preview shows, once, at their pace, and can be steered while they run."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from headrace.domain.backfills import Order, Reprocess
from headrace.domain.events import Fate
from headrace.domain.intervals import read_every
from headrace.store.backfills import backfill_intervals
from headrace.store.database import Database
from headrace.triggers.backfilling import BackfillCannot, Backfilling, BackfillRequest, UnknownBackfill
from headrace.triggers.backfills import PUT_OFF_SECONDS, Backfills

from tests.support.projects import write_pipeline
from tests.support.triggers import TriggerStack, make_stack, trigger_stack, webhook, write_triggers

DAY = timedelta(days=1)
START = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
async def stack(database: Database, root: Path) -> TriggerStack:
    return await make_stack(database, root)


def request(stack: TriggerStack, days: int, **options: Any) -> BackfillRequest:
    return BackfillRequest(
        stack.project.id,
        "orders",
        START,
        START + (days - 1) * DAY,
        read_every("day"),
        **{"concurrency": 100, **options},
    )


def service(stack: TriggerStack) -> Backfills:
    return Backfills(stack.database, stack.acceptor, stack.book, [stack.project.id])


async def end(database: Database, runs: Sequence[int], status: str = "completed") -> None:
    await database.execute("UPDATE headrace.run SET status = 'running' WHERE id = ANY ($1)", list(runs))
    await database.execute(
        "UPDATE headrace.run SET status = $2, finished_at = now() WHERE id = ANY ($1)", list(runs), status
    )


async def active(database: Database) -> list[Any]:
    return await database.fetch(
        "SELECT r.*, v.definition FROM headrace.run AS r JOIN headrace.pipeline_version AS v ON v.hash = r.version"
        " WHERE r.status = 'initial' ORDER BY r.id"
    )


async def days_of(database: Database) -> list[int]:
    return [row["execution_date"].day for row in await active(database)]


async def test_what_the_preview_shows_is_made_with_mages_variables(stack: TriggerStack) -> None:
    backfilling = Backfilling(stack.database)
    wanted = request(stack, 3, variables={"taxi": "green"}, priority=-7)
    preview = await backfilling.preview(wanted)
    backfill = await backfilling.create(wanted)
    await service(stack).look()
    rows = await active(stack.database)
    assert [row["execution_date"] for row in rows] == [item.interval.start for item in preview if item.wanted]
    assert rows[0]["priority"] == -7
    assert rows[0]["variables"] | {"event": 0} == {
        "taxi": "green",
        "event": 0,
        "interval_start_datetime": {"$datetime": "2026-01-01T00:00:00+00:00"},
        "interval_end_datetime": {"$datetime": "2026-01-02T00:00:00+00:00"},
        "interval_seconds": 86400,
        "interval_start_datetime_previous": {"$datetime": "2025-12-31T00:00:00+00:00"},
    }
    assert isinstance(rows[0]["variables"]["interval_seconds"], int)
    assert stack.made == [row["id"] for row in rows]
    await end(stack.database, stack.made)
    await service(stack).look()
    shown = await backfilling.show(backfill)
    assert (shown.status, shown.completed, shown.waiting) == ("completed", 3, 0)


async def test_an_event_whose_variables_cannot_be_rendered_makes_no_backfill_and_keeps_none_waiting(
    database: Database, root: Path
) -> None:
    write_triggers(root, "orders", [webhook("nightly", backfill={"last": 1}, variables={"taxi": "{{ event.n.o }}"})])
    async with trigger_stack(database, root) as stack:
        await stack.acceptor.accept(stack.event("webhook:nightly", "1", {}))
        await stack.acceptor.accept(stack.event("webhook:nightly", "2", {"n": {"o": 1}}))
        await service(stack).look()
    fates = await database.fetch("SELECT fate, reason FROM headrace.event_fate WHERE fate <> 'run' ORDER BY event_id")
    assert [row["fate"] for row in fates] == ["dead", "backfill"]
    assert "orders/nightly" in fates[0]["reason"]


@pytest.mark.parametrize(
    ("reprocess", "made"),
    [(Reprocess.MISSING, [4, 5]), (Reprocess.FAILED, [2, 3, 4, 5]), (Reprocess.ALL, [1, 2, 3, 4, 5])],
)
async def test_the_policy_decides_which_intervals_run_again(
    stack: TriggerStack, reprocess: Reprocess, made: list[int]
) -> None:
    backfilling = Backfilling(stack.database)
    await backfilling.create(request(stack, 3))
    await service(stack).look()
    first, second, third = stack.made
    await end(stack.database, [first])
    await end(stack.database, [second], "failed")
    await end(stack.database, [third], "cancelled")
    again = request(stack, 5, reprocess=reprocess)
    preview = await backfilling.preview(again)
    assert [item.interval.start.day for item in preview if item.wanted] == made
    assert all(item.reason for item in preview if not item.wanted)
    await backfilling.create(again)
    await service(stack).look()
    assert await days_of(stack.database) == made


async def test_a_backfill_with_nothing_to_do_is_completed_at_once(stack: TriggerStack) -> None:
    backfilling = Backfilling(stack.database)
    await backfilling.create(request(stack, 2))
    await service(stack).look()
    shown = await backfilling.show(await backfilling.create(request(stack, 2)))
    assert (shown.status, shown.left_out) == ("completed", 2)


async def test_no_more_runs_than_its_concurrency_are_active_whatever_the_number_of_services(
    stack: TriggerStack, database: Database, root: Path
) -> None:
    backfilling = Backfilling(database)
    await backfilling.create(request(stack, 9, concurrency=2, order=Order.BACKWARDS))
    services = [service(stack), service(await make_stack(database, root))]
    seen: list[int] = []
    for _ in range(30):
        await asyncio.gather(*(one.look() for one in services))
        rows = await active(database)
        assert len(rows) <= 2
        seen += [row["execution_date"].day for row in rows if row["execution_date"].day not in seen]
        if not rows:
            break
        await end(database, [rows[0]["id"]])
    assert sorted(seen) == list(range(1, 10))
    assert seen[0] in (8, 9)
    assert seen[-1] in (1, 2)
    assert await database.fetchval("SELECT count(*) FROM headrace.run") == 9


async def test_pause_resume_and_another_pace_count_from_now_on(stack: TriggerStack) -> None:
    backfilling = Backfilling(stack.database)
    backfill = await backfilling.create(request(stack, 5, concurrency=1))
    await service(stack).look()
    await backfilling.pause(backfill)
    await end(stack.database, stack.made)
    await service(stack).look()
    assert await days_of(stack.database) == []
    with pytest.raises(BackfillCannot, match="is paused and cannot be paused"):
        await backfilling.pause(backfill)
    await backfilling.change(backfill, concurrency=3)
    await backfilling.resume(backfill)
    await service(stack).look()
    assert await days_of(stack.database) == [2, 3, 4]
    await end(stack.database, stack.made[1:])
    await backfilling.change(backfill, pace=3600.0)
    await service(stack).look()
    assert await days_of(stack.database) == [5]


async def test_a_pace_keeps_the_next_run_waiting(stack: TriggerStack) -> None:
    await Backfilling(stack.database).create(request(stack, 3, pace=3600.0))
    assert await service(stack).look() == 3600.0
    due = await service(stack).look()
    assert 3500.0 < due <= 3600.0
    assert await days_of(stack.database) == [1]


async def test_a_cancel_drops_what_waits_and_asks_what_runs_to_stop_in_one_step(stack: TriggerStack) -> None:
    backfilling = Backfilling(stack.database)
    backfill = await backfilling.create(request(stack, 4, concurrency=2))
    await service(stack).look()
    await backfilling.cancel(backfill)
    await service(stack).look()
    shown = await backfilling.show(backfill)
    assert (shown.status, shown.dropped, shown.waiting) == ("cancelled", 2, 0)
    asked = await stack.database.fetch("SELECT id FROM headrace.run WHERE cancel_requested_at IS NOT NULL ORDER BY id")
    assert [row["id"] for row in asked] == stack.made
    assert len(await active(stack.database)) == 2


async def test_a_cancel_reaches_the_runs_that_a_service_is_just_making(
    stack: TriggerStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    from headrace.triggers import backfills

    backfilling, making, go_on = Backfilling(stack.database), asyncio.Event(), asyncio.Event()
    real = backfills.note_made_intervals

    async def slowly(*arguments: Any) -> None:
        await real(*arguments)
        making.set()
        await go_on.wait()

    monkeypatch.setattr(backfills, "note_made_intervals", slowly)
    backfill = await backfilling.create(request(stack, 3, concurrency=2))
    looking = asyncio.create_task(service(stack).look())
    await asyncio.wait_for(making.wait(), 10)
    cancelling = asyncio.create_task(backfilling.cancel(backfill))
    async with asyncio.timeout(10):
        while not await stack.database.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"):
            await asyncio.sleep(0.01)
    go_on.set()
    await asyncio.gather(looking, cancelling)
    asked = await stack.database.fetchval("SELECT count(*) FROM headrace.run WHERE cancel_requested_at IS NOT NULL")
    assert (len(stack.made), asked) == (2, 2)
    assert (await backfilling.show(backfill)).dropped == 1


async def test_two_backfills_that_are_asked_for_at_once_share_no_interval(stack: TriggerStack) -> None:
    backfilling = Backfilling(stack.database)
    made = await asyncio.gather(*(backfilling.create(request(stack, 3, concurrency=1)) for _ in range(4)))
    assert len(set(made)) == 4
    rows = [row for number in made for row in await backfill_intervals(stack.database, number, limit=10)]
    assert sorted(row.start_at.day for row in rows if row.status == "waiting") == [1, 2, 3]
    (first,) = {row.reason for row in rows if row.reason}
    assert first == f"backfill {min(made)} is about to run it"
    failed = await backfilling.preview(request(stack, 4, reprocess=Reprocess.FAILED))
    assert [item.interval.start.day for item in failed if item.wanted] == [4]
    assert all(item.wanted for item in await backfilling.preview(request(stack, 4, reprocess=Reprocess.ALL)))


async def test_a_key_makes_one_backfill(stack: TriggerStack) -> None:
    backfilling = Backfilling(stack.database)
    wanted = request(stack, 2, reprocess=Reprocess.ALL, key="once")
    made = await asyncio.gather(*(backfilling.create(wanted) for _ in range(5)))
    assert len(set(made)) == 1
    assert await backfilling.create(request(stack, 2, reprocess=Reprocess.ALL, key="twice")) not in made


async def test_a_retry_runs_only_what_did_not_complete(stack: TriggerStack) -> None:
    backfilling = Backfilling(stack.database)
    backfill = await backfilling.create(request(stack, 3))
    await service(stack).look()
    await end(stack.database, stack.made[:2])
    await end(stack.database, stack.made[2:], "failed")
    await service(stack).look()
    assert (await backfilling.show(backfill)).status == "failed"
    assert await backfilling.retry(backfill) == 1
    await service(stack).look()
    assert await days_of(stack.database) == [3]
    rows = await backfill_intervals(stack.database, backfill, limit=10)
    assert [(row.tries, row.run_status) for row in rows] == [(1, "completed"), (1, "completed"), (2, "initial")]
    await end(stack.database, stack.made[3:])
    await service(stack).look()
    assert (await backfilling.show(backfill)).status == "completed"
    with pytest.raises(BackfillCannot, match="nothing in it failed"):
        await backfilling.retry(backfill)


async def test_a_backfill_waits_while_its_pipeline_cannot_be_read_and_then_goes_on(
    stack: TriggerStack, root: Path
) -> None:
    backfilling = Backfilling(stack.database)
    backfill = await backfilling.create(request(stack, 2))
    block = root / "pipelines/orders/load.py"
    whole = block.read_text()
    block.unlink()
    assert await service(stack).look() == PUT_OFF_SECONDS
    shown = await backfilling.show(backfill)
    assert (shown.status, shown.waiting) == ("running", 2)
    assert "load" in (shown.reason or "")
    block.write_text(whole)
    assert 0 < await service(stack).look() <= PUT_OFF_SECONDS
    await stack.database.execute("UPDATE headrace.backfill SET next_at = now()")
    await service(stack).look()
    shown = await backfilling.show(backfill)
    assert (shown.status, shown.reason, shown.running) == ("running", None, 2)


async def test_what_fails_for_one_interval_makes_no_run_that_the_backfill_does_not_know_of(
    stack: TriggerStack, root: Path
) -> None:
    options = {"concurrency_config": {"concurrency_key": "{{ 1 // (interval_start_datetime.day - 2) }}"}}
    write_pipeline(root, "orders", {"load": []}, options=options)
    backfilling = Backfilling(stack.database)
    backfill = await backfilling.create(request(stack, 2))
    await service(stack).look()
    shown = await backfilling.show(backfill)
    assert (shown.status, shown.waiting) == ("running", 2)
    assert "zero" in (shown.reason or "")
    assert await stack.database.fetchval("SELECT count(*) FROM headrace.run") == 0


async def test_backfills_and_services_at_once_make_one_run_an_interval(
    stack: TriggerStack, database: Database, root: Path
) -> None:
    backfilling = Backfilling(database)
    backfills = [await backfilling.create(request(stack, 8, reprocess=Reprocess.MISSING))]
    await backfilling.pause(backfills[0])
    backfills.append(await backfilling.create(request(stack, 8, reprocess=Reprocess.FAILED)))
    await backfilling.resume(backfills[0])
    services = [service(stack), *[service(await make_stack(database, root)) for _ in range(2)]]
    await asyncio.gather(*(one.look() for one in services))
    await asyncio.gather(*(one.look() for one in services))
    assert await days_of(database) == list(range(1, 9))
    rows = [row for each in backfills for row in await backfill_intervals(database, each, limit=20)]
    assert sorted(row.status for row in rows) == ["left_out"] * 8 + ["made"] * 8
    assert {row.reason for row in rows if row.status == "left_out"} == {
        f"run {row.run_id}, made meanwhile, is initial" for row in rows if row.status == "made"
    }


async def test_an_interval_that_another_backfill_completed_meanwhile_is_not_run_again(stack: TriggerStack) -> None:
    backfilling = Backfilling(stack.database)
    first = await backfilling.create(request(stack, 3, concurrency=1))
    await service(stack).look()
    await backfilling.pause(first)
    second = await backfilling.create(request(stack, 3))
    await service(stack).look()
    assert await days_of(stack.database) == [1, 2, 3]
    await end(stack.database, stack.made)
    await backfilling.resume(first)
    await service(stack).look()
    await service(stack).look()
    assert await days_of(stack.database) == []
    shown = await backfilling.show(first)
    assert (shown.status, shown.completed, shown.left_out) == ("completed", 1, 2)
    rows = await backfill_intervals(stack.database, first, limit=10)
    assert [row.reason for row in rows[1:]] == [f"run {run}, made meanwhile, is completed" for run in stack.made[1:]]
    assert (await backfilling.show(second)).left_out == 1


async def test_a_retry_leaves_out_what_is_good_by_now_and_runs_its_own_failures_whatever_the_policy(
    stack: TriggerStack,
) -> None:
    backfilling = Backfilling(stack.database)
    backfill = await backfilling.create(request(stack, 2, reprocess=Reprocess.MISSING))
    await service(stack).look()
    await end(stack.database, stack.made, "failed")
    await service(stack).look()
    await backfilling.create(request(stack, 1, reprocess=Reprocess.FAILED))
    await service(stack).look()
    await end(stack.database, stack.made[2:])
    assert await backfilling.retry(backfill) == 2
    await service(stack).look()
    assert await days_of(stack.database) == [2]


async def test_a_backfill_that_is_not_there_is_told(stack: TriggerStack) -> None:
    with pytest.raises(UnknownBackfill, match="backfill 77"):
        await Backfilling(stack.database).pause(77)


async def test_an_event_of_a_trigger_with_a_backfill_makes_one_of_the_last_intervals(
    database: Database, root: Path
) -> None:
    window = {"last": 3, "interval": "day", "concurrency": 9}
    variables = {"taxi": "{{ event.taxi }}", "asked": "{{ key }} at {{ occurred_at }}"}
    options = {"timeout": 60, "max_active_runs": 40, "priority": 5}
    write_triggers(root, "orders", [webhook("nightly", backfill=window, variables=variables, **options)])
    at = datetime(2026, 1, 10, 2, 30, tzinfo=UTC)
    async with trigger_stack(database, root) as one, trigger_stack(database, root) as two:
        accepted = await one.acceptor.accept(one.event("webhook:nightly", "1", {"taxi": "green"}, occurred_at=at))
        assert accepted.fates[0].fate is Fate.WAITING
        await asyncio.gather(*(service(stack).look() for stack in (one, two)))
        rows = await active(database)
        assert [row["execution_date"].day for row in rows] == [7, 8, 9]
        for row in rows:
            assert (row["variables"]["taxi"], row["variables"]["trigger_name"]) == ("green", "nightly")
            assert row["variables"]["asked"] == "1 at 2026-01-10 02:30:00+00:00"
            assert (row["trigger_id"], row["gate_caps"]) == (one.trigger_id("nightly"), [40])
            assert row["definition"]["timeout"] == 60
            assert row["priority"] < 0
        await end(database, [rows[0]["id"], rows[1]["id"]])
        await end(database, [rows[2]["id"]], "failed")
        later = one.event("webhook:nightly", "2", {"taxi": "green"}, occurred_at=at + DAY)
        await one.acceptor.accept(later)
        await service(one).look()
        assert await days_of(database) == [9, 10]
    fates = await database.fetch("SELECT fate, reason FROM headrace.event_fate WHERE fate <> 'run' ORDER BY event_id")
    assert [(row["fate"], row["reason"]) for row in fates] == [("backfill", "backfill 1"), ("backfill", "backfill 2")]
