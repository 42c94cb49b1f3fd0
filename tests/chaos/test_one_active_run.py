"""Faults 1 and 16 under many writers to a trigger with one active run: each event gets into exactly one run."""

from __future__ import annotations

import asyncio
import os
import random
from pathlib import Path

import asyncpg
import pytest
from headrace.store.database import Database

from tests.chaos.checker import faults
from tests.chaos.fleet import Fleet
from tests.chaos.rest import at_rest
from tests.chaos.telling import tell
from tests.chaos.writers import Line
from tests.support.projects import write_pipeline, write_project
from tests.support.triggers import webhook, write_triggers

EVENTS = int(os.environ.get("HEADRACE_CHAOS_EVENTS", "1000"))
"""How many events are sent; the long form sends 10,000."""
WRITERS = 20
PORTIONS = 5 * max(EVENTS // 5000, 1)
"""In each of so many portions of the events, one service is struck."""
LEASE = 1.0
REST_SECONDS = 240.0

BODY = """
@custom
def body(*args, **kwargs):
    numbers = " ".join(str(event["n"]) for event in kwargs["events"])
    with open({ledger!r}, "a") as ledger:
        ledger.write(f"{{kwargs['pipeline_run_id']}} {{numbers}}\\n")
    return 1
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    root = write_project(tmp_path / "project")
    write_pipeline(root, "gathering", {"only": ()}, default=BODY.format(ledger=str(tmp_path / "ledger")))
    batch = {"delay": 0.1, "max_wait": 0.3, "max_count": 50}
    write_triggers(root, "gathering", [webhook("inbox", max_active_runs=1, at_limit="queue", batch=batch)])
    return root


async def strike(fleet: Fleet, number: int, halfway: asyncio.Event) -> None:
    """kill -9 and pauses by turns, of each service by turns; a pause is longer than the lease."""
    await halfway.wait()
    if number % 2 == 0:
        assert await fleet.kill(number // 2 % 2, 0.0)
    else:
        assert await fleet.pause(number // 2 % 2, 1.5 * LEASE)


async def write(line: Line, numbers: range, halfway: asyncio.Event) -> None:
    for place, number in enumerate(numbers):
        answer = await line.deliver({"source": "webhook:inbox", "key": str(number), "payload": {"n": number}})
        assert [fate[1] for fate in answer["fates"]] in (["waiting"], ["run"])
        if place >= len(numbers) // 2:
            halfway.set()


async def pour(fleet: Fleet) -> None:
    """Every event from 20 writers, in portions, amid each of which one service is struck."""
    lines = [Line(fleet.doors, random.Random(number)) for number in range(WRITERS)]
    size = EVENTS // PORTIONS
    for portion in range(PORTIONS):
        halfway = asyncio.Event()
        end = EVENTS if portion == PORTIONS - 1 else (portion + 1) * size
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(strike(fleet, portion, halfway))
            for number, line in enumerate(lines):
                tasks.create_task(write(line, range(portion * size + number, end, WRITERS), halfway))
    for line in lines:
        line.close()


def events_by_run(ledger: Path) -> dict[int, list[int]]:
    """What the block of each run was handed; one that ran again after a kill was handed the same."""
    found: dict[int, list[int]] = {}
    for line in ledger.read_text().splitlines():
        run, *numbers = map(int, line.split())
        assert found.setdefault(run, numbers) == numbers
    return found


@pytest.mark.chaos
@pytest.mark.timeout(900)
async def test_the_union_over_runs_is_all_events_and_none_twice(
    project: Path, database: Database, database_url: str, tmp_path: Path
):
    environ = {**os.environ, "HEADRACE_DATABASE_URL": database_url}
    fleet = Fleet(project, tmp_path, environ, 2, LEASE)
    try:
        await fleet.start()
        await pour(fleet)
        await at_rest(database, REST_SECONDS)
        await fleet.stop()
    finally:
        await fleet.kill_all()
    connection = await asyncpg.connect(database_url)
    try:
        assert await faults(connection) == []
    finally:
        await connection.close()
    runs = events_by_run(tmp_path / "ledger")
    assert sorted(number for numbers in runs.values() for number in numbers) == list(range(EVENTS))
    assert 1 < len(runs) < EVENTS
    assert fleet.faults == []
    tell(f"{EVENTS} events from {WRITERS} writers, {PORTIONS} strikes: {len(runs)} runs, each event in exactly one")
