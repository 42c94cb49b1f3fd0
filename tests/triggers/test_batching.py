"""Events of a batch make one run together, and each event is in exactly one."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import anyio
import pytest
from headrace.domain.triggers import Batch
from headrace.store.database import Database
from headrace.store.events import WaitingBatch
from headrace.triggers.batching import due_in
from headrace.triggers.left_waiting import REMOVED, REMOVED_SECONDS
from headrace.triggers.waits import told_fates

from tests.support.triggers import TriggerStack, trigger_stack, webhook, write_triggers

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("batch", "waiting", "first", "last", "due"),
    [
        (Batch(10), 3, 8, 4, 6.0),
        (Batch(10), 3, 30, 11, -1.0),
        (Batch(10, max_wait=20), 3, 18, 1, 2.0),
        (Batch(10, max_wait=20), 3, 25, 0, -5.0),
        (Batch(10, max_count=3), 3, 1, 1, 0.0),
        (Batch(10, max_count=4), 3, 1, 1, 9.0),
    ],
)
def test_a_batch_is_due_after_quiet_or_at_a_bound(
    batch: Batch, waiting: int, first: float, last: float, due: float
) -> None:
    seen = WaitingBatch(1, waiting, NOW - timedelta(seconds=first), NOW - timedelta(seconds=last), NOW)
    assert due_in(batch, seen) == pytest.approx(due)


async def _batched(stack: TriggerStack, events: int) -> None:
    """Run the batcher until `events` events have got their run."""
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(stack.batcher.run)
        with anyio.fail_after(20):
            while await _in_runs(stack.database) < events:
                await anyio.sleep(0.01)
        tasks.cancel_scope.cancel()


async def _in_runs(database: Database) -> int:
    return int(await database.fetchval("SELECT count(*) FROM headrace.event_fate WHERE fate = 'run'"))


async def test_events_that_come_close_together_make_one_run(database: Database, root: Path) -> None:
    write_triggers(
        root,
        "orders",
        [webhook("hook", batch={"delay": 0.1}, variables={"ids": "{{ events | map(attribute='n') | list }}"})],
    )
    async with trigger_stack(database, root) as stack:
        await asyncio.gather(*(stack.acceptor.accept(stack.event("webhook:hook", str(n), {"n": n})) for n in range(5)))
        await _batched(stack, 5)
    runs = await database.fetch("SELECT id, variables FROM headrace.run")
    assert len(runs) == 1
    assert sorted(runs[0]["variables"]["ids"]) == [0, 1, 2, 3, 4]
    assert len(runs[0]["variables"]["events"]) == 5
    assert stack.made == [runs[0]["id"]]
    assert await database.fetchval("SELECT count(*) FROM headrace.block_run") == 2


async def test_a_full_batch_does_not_wait_and_every_event_is_in_exactly_one_run(database: Database, root: Path) -> None:
    write_triggers(root, "orders", [webhook("hook", batch={"delay": 0.2, "max_count": 7})])
    async with (
        trigger_stack(database, root) as one,
        trigger_stack(database, root) as two,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(one.batcher.run)
        tasks.start_soon(two.batcher.run)
        await asyncio.gather(
            *(
                stack.acceptor.accept(stack.event("webhook:hook", f"{id(stack)}-{n}", n))
                for n in range(50)
                for stack in (one, two)
            )
        )
        with anyio.fail_after(20):
            while await _in_runs(database) < 100:
                await anyio.sleep(0.01)
        tasks.cancel_scope.cancel()
    sizes = [len(row["variables"]["events"]) for row in await database.fetch("SELECT variables FROM headrace.run")]
    assert sum(sizes) == 100
    assert max(sizes) <= 7
    assert await database.fetchval("SELECT count(DISTINCT event_id) FROM headrace.event_fate WHERE fate = 'run'") == 100


async def test_a_batch_whose_pipeline_broke_becomes_dead_letters(database: Database, root: Path) -> None:
    write_triggers(root, "orders", [webhook("hook", batch={"delay": 0})])
    async with trigger_stack(database, root) as stack:
        await stack.acceptor.accept(stack.event("webhook:hook", "1"))
        (root / "pipelines/orders/load.py").unlink()
        await stack.batcher.look()
    row = await database.fetchrow("SELECT fate, reason FROM headrace.event_fate")
    assert row["fate"] == "dead"
    assert "load" in row["reason"]


async def _fates(database: Database) -> list[tuple[str, str | None]]:
    rows = await database.fetch("SELECT fate, reason FROM headrace.event_fate ORDER BY event_id")
    return [(row["fate"], row["reason"]) for row in rows]


@pytest.mark.parametrize(
    "gathering", [{"batch": {"delay": 3600}}, {"backfill": {"last": 1}}], ids=["batch", "backfill"]
)
async def test_events_that_wait_make_one_run_once_their_trigger_gathers_no_more(
    database: Database, root: Path, gathering: dict[str, object]
) -> None:
    write_triggers(root, "orders", [webhook("hook", **gathering)])
    async with trigger_stack(database, root) as stack:
        await stack.acceptor.accept_all([stack.event("webhook:hook", str(n), n) for n in range(3)])
        await stack.batcher.look()
        assert await _in_runs(database) == 0
        write_triggers(root, "orders", [webhook("hook")])
        await stack.book.look()
        await stack.batcher.look()
    (run,) = await database.fetch("SELECT variables FROM headrace.run")
    assert run["variables"]["events"] == [0, 1, 2]
    assert await _in_runs(database) == 3


async def test_events_wait_for_a_trigger_that_is_switched_off_and_go_on_once_it_is_on(
    database: Database, root: Path
) -> None:
    write_triggers(root, "orders", [webhook("hook", batch={"delay": 0})])
    async with trigger_stack(database, root) as stack:
        accepted = await stack.acceptor.accept(stack.event("webhook:hook", "1"))
        write_triggers(root, "orders", [webhook("hook", batch={"delay": 0}, status="inactive")])
        await stack.book.look()
        await stack.batcher.look()
        (fate,) = await told_fates(database, [accepted.event])
        assert (fate.fate, fate.reason) == ("waiting", "until its trigger is active again")
        write_triggers(root, "orders", [webhook("hook", batch={"delay": 0})])
        await stack.book.look()
        await stack.batcher.look()
    assert await _in_runs(database) == 1


async def test_events_of_a_trigger_that_was_removed_become_dead_letters(database: Database, root: Path) -> None:
    write_triggers(root, "orders", [webhook("hook", batch={"delay": 0})])
    async with trigger_stack(database, root) as stack:
        accepted = await stack.acceptor.accept(stack.event("webhook:hook", "1"))
        write_triggers(root, "orders", [])
        await stack.book.look()
        await stack.batcher.look()
        (fate,) = await told_fates(database, [accepted.event])
        assert fate.fate == "waiting"
        assert "removed" in (fate.reason or "")
        await database.execute(
            "UPDATE headrace.trigger SET updated_at = now() - $1 * interval '1 second'", REMOVED_SECONDS + 1
        )
        await stack.book.look()
        await stack.batcher.look()
    assert await _fates(database) == [("dead", REMOVED)]


@pytest.mark.parametrize("at_limit", ["skip", "cancel_oldest"])
async def test_a_batch_keeps_its_triggers_limit(database: Database, root: Path, at_limit: str) -> None:
    write_triggers(root, "orders", [webhook("hook", batch={"delay": 0}, max_active_runs=1, at_limit=at_limit)])
    async with trigger_stack(database, root) as stack:
        for key in ("1", "2"):
            await stack.acceptor.accept(stack.event("webhook:hook", key))
            await stack.batcher.look()
    runs = await database.fetch("SELECT id, cancel_requested_at IS NOT NULL AS cancelled FROM headrace.run ORDER BY id")
    if at_limit == "skip":
        skipped = f"1 of at most 1 runs of its trigger are active (run {runs[0]['id']})"
        assert await _fates(database) == [("run", None), ("skipped", skipped)]
    assert [run["cancelled"] for run in runs] == ([False] if at_limit == "skip" else [True, False])
