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
