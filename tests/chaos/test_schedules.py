"""Faults 8, 15, 18 and 19: however many services keep time, and whatever their clocks show, each slot is one event.

The short form is part of the tests; HEADRACE_CHAOS_SECONDS=30 makes the long one.
"""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from pathlib import Path

import anyio
import asyncpg
import pytest
from headrace.store.database import Database

from tests.chaos.telling import tell
from tests.support.projects import write_pipeline, write_project
from tests.support.schedule_service import start_timekeeping
from tests.support.schedules import MovedClock, schedule, slots_of, timekeeping, until_slots, utc
from tests.support.services import ServiceProcess
from tests.support.triggers import write_triggers

pytestmark = pytest.mark.chaos

SECONDS = int(os.environ.get("HEADRACE_CHAOS_SECONDS", "4"))
SCHEDULES = 200
SKEW = timedelta(seconds=90)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_project(tmp_path)
    write_pipeline(tmp_path, "orders", {"load": []})
    return tmp_path


@asynccontextmanager
async def three_services(root: Path, database_url: str) -> AsyncIterator[list[ServiceProcess]]:
    async with AsyncExitStack() as stack:
        services = []
        for number in range(3):
            service = await start_timekeeping(root, database_url, root / f"service-{number}.log")
            stack.push_async_callback(service.kill)
            services.append(service)
        yield services


async def until_seconds(database: Database, count: int) -> None:
    """Wait until every schedule has `count` slots."""

    async def least() -> int:
        return await database.fetchval(
            "SELECT COALESCE(min(n), 0) FROM (SELECT count(e.id) AS n FROM headrace.trigger AS t "
            "LEFT JOIN headrace.event AS e ON e.source = t.source GROUP BY t.id) AS counted"
        )

    with anyio.fail_after(60 + 2 * SECONDS):
        while await database.retrying(least) < count:
            await anyio.sleep(0.05)


async def cut_connections(database_url: str, cut: list[int]) -> None:
    """Terminate every connection to the database but our own, again and again; `cut` gets how many each time."""
    connection = await asyncpg.connect(database_url)
    try:
        while True:
            cut.append(await connection.fetchval(
                "SELECT count(*) FILTER (WHERE pg_terminate_backend(pid)) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
            ))  # fmt: skip
            await asyncio.sleep(0.3)
    finally:
        await connection.close()


async def assert_each_slot_is_one_event_and_one_run(database: Database) -> None:
    """No key twice, no second between the first and the last slot of a schedule left out, a run for each."""
    rows = await database.fetch(
        "SELECT source, count(*) AS events, count(DISTINCT key) AS keys, "
        "EXTRACT(EPOCH FROM max(occurred_at) - min(occurred_at))::int + 1 AS seconds FROM headrace.event GROUP BY source"
    )
    assert len(rows) == SCHEDULES
    assert [dict(row) for row in rows if not row["events"] == row["keys"] == row["seconds"]] == []
    tell(f"{SCHEDULES} schedules a second, three services: {sum(row['events'] for row in rows)} slots, each one run")
    runs = await database.fetch("SELECT run_id FROM headrace.event_fate WHERE fate = 'run'")
    assert len({row["run_id"] for row in runs}) == await database.fetchval("SELECT count(*) FROM headrace.event")


async def test_three_services_make_one_event_of_each_of_two_hundred_slots_a_second_though_one_is_killed(
    root: Path, database_url: str, database: Database
) -> None:
    write_triggers(root, "orders", [
        {"name": f"s{number}", "schedule_type": "time", "schedule_interval": "* * * * * *"} for number in range(SCHEDULES)
    ])  # fmt: skip
    async with three_services(root, database_url) as services:
        await until_seconds(database, SECONDS // 2)
        await services[0].kill()
        await until_seconds(database, SECONDS)
    await assert_each_slot_is_one_event_and_one_run(database)


async def test_connections_that_are_cut_again_and_again_cost_no_slot(
    root: Path, database_url: str, database: Database
) -> None:
    write_triggers(root, "orders", [
        {"name": f"s{number}", "schedule_type": "time", "schedule_interval": "* * * * * *"} for number in range(SCHEDULES)
    ])  # fmt: skip

    async with three_services(root, database_url) as services:
        cut: list[int] = []
        cutting = asyncio.create_task(cut_connections(database_url, cut))
        for seconds in itertools.count(SECONDS):  # one that comes late makes up for several at once
            await until_seconds(database, seconds)
            if sum(cut) > 3 * SECONDS:
                break
        cutting.cancel()
        await until_seconds(database, seconds + 1)
        assert [service.process.returncode for service in services] == [None] * 3
    assert sum(cut) > 3 * SECONDS
    await assert_each_slot_is_one_event_and_one_run(database)


async def test_services_whose_clocks_disagree_and_jump_leave_out_no_slot_and_repeat_none(
    root: Path, database: Database
) -> None:
    write_triggers(root, "orders", [schedule("t", "* * * * *"), schedule("d", "30 2 * * *", timezone="Europe/Berlin")])
    clocks = [MovedClock(), MovedClock(), MovedClock()]
    clocks[0].at -= SKEW
    clocks[2].at += SKEW
    async with AsyncExitStack() as stack:
        for clock in clocks:
            await stack.enter_async_context(timekeeping(database, root, clock))
        for minutes in (1, 5, 60, -60, 3, 60, -60, 90, 1):
            for clock in clocks:
                clock.move(minutes=minutes)
                await asyncio.sleep(0.02)
        end = max(clock.at for clock in clocks)
        for clock in clocks:
            clock.at = end
        await until_slots(database, [("t", f"{end.replace(second=0):%Y-%m-%dT%H:%M:%S}Z")])
    first = utc("2026-05-06T10:20")
    whole = int((end - first).total_seconds() // 60) + 1
    assert await slots_of(database, "t") == [
        f"{first + timedelta(minutes=minute):%Y-%m-%dT%H:%M:%S}Z" for minute in range(whole)
    ]
    assert await database.fetchval("SELECT count(*) FROM headrace.run") == whole
