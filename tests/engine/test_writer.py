"""The joined writer on a real database: lone and joined steps, refused ones, and answers that were lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID, uuid4

import asyncpg
import pytest
from headrace.engine import writer as writing
from headrace.engine.clock import SystemClock
from headrace.engine.writer import StepWriter
from headrace.store.database import Database
from headrace.store.runs import (
    BlockMove,
    ClaimedRun,
    NewRun,
    RunStep,
    claim_runs,
    create_run,
    keep_project,
    renew_lease,
)


async def claimed(database: Database, service: UUID, count: int) -> list[ClaimedRun]:
    """Fresh runs of one block `a`, held by a service."""
    project = await keep_project(database, "/p", "p")
    async with database.connection() as connection:
        await renew_lease(connection, service, "here", 1, 60.0)
    for _ in range(count):
        await create_run(database, NewRun(project, "p", "v", b"{}", ("a",), {}, {}, uuid4().hex))
    return await claim_runs(database, service, project, limit=count)


def step(run: ClaimedRun, number: int = 1, *, fence: int | None = None, reason: str | None = None) -> RunStep:
    move = BlockMove("a", "queued", 0, 0, False, False, None, reason, {"message": "m"}, None)
    return RunStep(run.id, run.fence if fence is None else fence, number, "running", None, None, (move,), (), ())


@asynccontextmanager
async def served(database: Database, service: UUID) -> AsyncIterator[StepWriter]:
    """A writer that has its connection."""
    writer = StepWriter(database, service, SystemClock())
    task = asyncio.create_task(writer.run())
    try:
        yield writer
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def transactions(database: Database) -> int:
    """How many transactions wrote the runs as they are now."""
    return await database.fetchval("SELECT count(DISTINCT xmin::text) FROM headrace.run_step")


async def waiting_for_a_lock(connection) -> int:
    """Wait until one process of the server does; its pid."""
    async with asyncio.timeout(10):
        while True:
            pid = await connection.fetchval("SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
            if pid is not None:
                return pid


async def test_a_step_is_recorded_when_write_returns(database: Database):
    service = uuid4()
    (run,) = await claimed(database, service, 1)
    async with served(database, service) as writer:
        assert await writer.write(step(run))
        row = await database.fetchrow("SELECT status, error FROM headrace.block_run")
        assert dict(row) == {"status": "queued", "error": {"message": "m"}}
        assert await writer.write(step(run, 2))


async def test_steps_that_wait_together_are_committed_together(database: Database):
    service = uuid4()
    runs = await claimed(database, service, 5)
    async with served(database, service) as writer:
        assert await writer.write(step(runs[0]))
        async with database.transaction() as blocking:
            await blocking.execute("SELECT FROM headrace.run WHERE id = $1 FOR UPDATE", runs[0].id)
            lone = asyncio.create_task(writer.write(step(runs[0], 2)))
            await asyncio.sleep(0)
            others = [asyncio.create_task(writer.write(step(run))) for run in runs[1:]]
            await asyncio.sleep(0)
        assert await asyncio.gather(lone, *others) == [True] * 5
    assert await transactions(database) == 2


@pytest.mark.parametrize("joined", [False, True])
async def test_a_step_under_an_old_fence_is_refused_and_the_others_are_not(database: Database, joined: bool):
    service = uuid4()
    runs = await claimed(database, service, 2)
    async with served(database, service) as writer:
        old, new = writer.write(step(runs[0], fence=0)), writer.write(step(runs[1]))
        answers = await asyncio.gather(old, new) if joined else [await old, await new]
    assert answers == [False, True]
    assert await database.fetchval("SELECT status FROM headrace.block_run WHERE run_id = $1", runs[0].id) == "initial"


async def test_a_step_that_cannot_be_written_fails_alone(database: Database):
    service = uuid4()
    runs = await claimed(database, service, 3)
    async with served(database, service) as writer:
        steps = [step(run, reason="\0" if run is runs[1] else None) for run in runs]
        answers = await asyncio.gather(*map(writer.write, steps), return_exceptions=True)
        assert [answers[0], answers[2]] == [True, True]
        assert isinstance(answers[1], asyncpg.PostgresError)
        assert await writer.write(step(runs[1]))


async def test_a_step_whose_connection_was_cut_is_written_again(database: Database):
    service = uuid4()
    (run,) = await claimed(database, service, 1)
    async with served(database, service) as writer:
        assert await writer.write(step(run))
        async with database.transaction() as blocking:
            await blocking.execute("SELECT FROM headrace.run WHERE id = $1 FOR UPDATE", run.id)
            lone = asyncio.create_task(writer.write(step(run, 2)))
            await blocking.execute("SELECT pg_terminate_backend($1)", await waiting_for_a_lock(blocking))
        async with asyncio.timeout(10):
            assert await lone
    assert await database.fetchval("SELECT step FROM headrace.run_step") == 2


async def test_a_step_that_was_committed_without_an_answer_is_looked_up(database: Database, monkeypatch):
    service = uuid4()
    (run,) = await claimed(database, service, 1)
    record_steps = writing.record_steps

    async def cut_after(*arguments):
        monkeypatch.undo()
        await record_steps(*arguments)
        raise asyncpg.ConnectionDoesNotExistError("cut")

    async with served(database, service) as writer:
        assert await writer.write(step(run))
        monkeypatch.setattr(writing, "record_steps", cut_after)
        assert await writer.write(step(run, 2))
    assert await database.fetchval("SELECT step FROM headrace.run_step") == 2


async def test_a_cancelled_caller_leaves_the_connection_to_the_next(database: Database):
    service = uuid4()
    runs = await claimed(database, service, 2)
    async with served(database, service) as writer:
        assert await writer.write(step(runs[0]))
        async with database.transaction() as blocking:
            await blocking.execute("SELECT FROM headrace.run WHERE id = $1 FOR UPDATE", runs[0].id)
            lone = asyncio.create_task(writer.write(step(runs[0], 2)))
            await waiting_for_a_lock(blocking)
            lone.cancel()
            async with asyncio.timeout(10):
                assert await writer.write(step(runs[1]))
        assert lone.cancelled()
