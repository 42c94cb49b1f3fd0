"""A finished run is itself an event for the triggers that listen for it."""

from __future__ import annotations

import asyncio
from pathlib import Path

from headrace.store.database import Database
from headrace.triggers.ended_runs import EndedRuns

from tests.support.projects import write_pipeline
from tests.support.triggers import TriggerStack, trigger_stack, write_triggers

AFTER = {"name": "after", "schedule_type": "run", "run": {"pipeline": "orders", "status": ["completed", "failed"]}}


async def ended(stack: TriggerStack, status: str) -> int:
    """A run of orders that ended with a status."""
    (run,) = (await stack.acceptor.start(stack.project.id, "orders", {"day": 3})).runs
    await stack.database.execute("UPDATE headrace.run SET status = 'running' WHERE id = $1", run)
    await stack.database.execute("UPDATE headrace.run SET status = $2, finished_at = now() WHERE id = $1", run, status)
    return run


async def test_the_end_of_a_run_makes_the_runs_of_those_that_follow_it(database: Database, root: Path) -> None:
    write_pipeline(root, "report", {"tell": []})
    write_triggers(root, "report", [{**AFTER, "variables": {"day": "{{ event.variables.day }}"}}])
    async with trigger_stack(database, root) as stack:
        first = await ended(stack, "completed")
        cancelled = await ended(stack, "cancelled")
        service = EndedRuns(database, stack.acceptor, [stack.project.id])
        assert await service.look() == 2
        assert await service.look() == 0
    runs = await database.fetch("SELECT variables, execution_date FROM headrace.run WHERE pipeline = 'report'")
    assert len(runs) == 1
    assert runs[0]["variables"]["day"] == 3
    assert runs[0]["variables"]["event"]["run"] == first
    fates = await database.fetch(
        "SELECT e.key, f.fate FROM headrace.event e JOIN headrace.event_fate f ON f.event_id = e.id WHERE e.source = 'run:orders'"
    )
    assert {row["key"]: row["fate"] for row in fates} == {str(first): "run", str(cancelled): "filtered"}


async def test_nothing_is_noted_where_nobody_listens(database: Database, root: Path) -> None:
    async with trigger_stack(database, root) as stack:
        await ended(stack, "completed")
    assert await database.fetchval("SELECT count(*) FROM headrace.ended_run") == 0


async def test_two_services_make_each_event_once(database: Database, root: Path) -> None:
    write_pipeline(root, "report", {"tell": []})
    write_triggers(root, "report", [AFTER])
    async with trigger_stack(database, root) as one, trigger_stack(database, root) as two:
        for _ in range(20):
            await ended(one, "failed")
        services = [EndedRuns(database, stack.acceptor, [stack.project.id]) for stack in (one, two)]
        while sum(await asyncio.gather(*(service.look() for service in services))):
            pass
    assert await database.fetchval("SELECT count(*) FROM headrace.run WHERE pipeline = 'report'") == 20
