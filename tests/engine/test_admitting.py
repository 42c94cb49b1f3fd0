"""Limits over runs hold whatever the number of services, no place leaks, and whatever waits tells why."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest
from headrace.domain.limits import Gate, RunLimits
from headrace.domain.triggers import Trigger, TriggerKind, Webhook
from headrace.engine.admitting import admit_runs
from headrace.engine.caps import CapFollower
from headrace.engine.clock import SystemClock
from headrace.engine.sweeper import Sweeper
from headrace.engine.waiting import why
from headrace.service import open_headrace
from headrace.store.admissions import cap_in_force, keep_caps
from headrace.store.database import Database
from headrace.store.runs import NewRun, claim_runs, create_run, keep_project, renew_lease
from headrace.store.triggers import keep_api_trigger
from headrace.triggers.book import row_of

from tests.support.projects import write_pipeline, write_project

WAIT = (
    "import os, time\n\n@custom\ndef body(*args, **kwargs):\n"
    "    while not os.path.exists(kwargs['repo_path'] + '/go'):\n        time.sleep(0.01)\n"
)


async def queue(database: Database, project: int, *gates: tuple[str, int], priority: int = 0) -> int:
    return await create_run(
        database,
        NewRun(
            project_id=project,
            pipeline="p",
            version="v",
            definition=b"{}",
            blocks=("b",),
            variables={},
            kept={},
            key=uuid4().hex,
            priority=priority,
            gates=tuple(Gate(*gate) for gate in gates),
        ),
    )


async def admitted(database: Database) -> list[int]:
    rows = await database.fetch("SELECT id FROM headrace.run WHERE admitted_at IS NOT NULL ORDER BY admitted_at, id")
    return [row["id"] for row in rows]


async def end(database: Database, run: int) -> None:
    await database.execute("UPDATE headrace.run SET status = 'running' WHERE id = $1", run)
    await database.execute("UPDATE headrace.run SET status = 'completed', finished_at = now() WHERE id = $1", run)


@pytest.fixture
async def project(database: Database) -> int:
    return await keep_project(database, "/p", "p")


async def test_a_place_is_free_again_the_moment_its_run_has_ended(database: Database, project: int) -> None:
    runs = [await queue(database, project, ("g", 1)) for _ in range(4)]
    for run in runs:
        await admit_runs(database, project)
        assert (await admitted(database))[-1] == run
        await end(database, run)
    assert await database.fetchval("SELECT count(*) FROM headrace.admission") == 0


async def test_services_that_admit_at_once_pass_no_limit(database: Database, project: int) -> None:
    for _ in range(50):
        await queue(database, project, ("g", 3))
    await asyncio.gather(*(admit_runs(database, project) for _ in range(6)))
    assert len(await admitted(database)) == 3


async def test_a_run_that_waits_is_not_claimed_unless_it_is_to_be_cancelled(database: Database, project: int) -> None:
    first, second, third = [await queue(database, project, ("g", 1)) for _ in range(3)]
    service = uuid4()
    async with database.connection() as connection:
        await renew_lease(connection, service, "host", 1, 60)
    await admit_runs(database, project)
    assert [run.id for run in await claim_runs(database, service, project, limit=10)] == [first]
    await database.execute("UPDATE headrace.run SET cancel_requested_at = now() WHERE id = $1", third)
    claimed = await claim_runs(database, service, project, limit=10, driven=[first])
    assert [(run.id, run.cancel_requested, run.gated) for run in claimed] == [(third, True, True)]
    assert second not in await admitted(database)


async def test_priority_counts_and_waiting_long_counts_too(database: Database, project: int) -> None:
    old, low, high = [await queue(database, project, ("g", 1), priority=given) for given in (0, -1, 2)]
    await database.execute("UPDATE headrace.run SET rank = rank - interval '15 minutes' WHERE id = $1", old)
    order = []
    for _ in range(3):
        await admit_runs(database, project)
        order.append((await admitted(database))[-1])
        await end(database, order[-1])
    assert order == [high, old, low]


async def test_a_run_that_waits_elsewhere_leaves_its_place_to_those_behind_it(database: Database, project: int) -> None:
    blocker = await queue(database, project, ("b", 1))
    holder = await queue(database, project, ("a", 1))
    await admit_runs(database, project)
    both = await queue(database, project, ("a", 1), ("b", 1))
    behind = await queue(database, project, ("a", 1))
    await admit_runs(database, project)
    await end(database, holder)
    await admit_runs(database, project)
    assert await admitted(database) == [blocker, holder, behind]
    assert await database.fetchval("SELECT parked_on FROM headrace.run WHERE id = $1", both) == "b"


async def test_what_a_trigger_says_now_counts_for_runs_that_wait_already(database: Database, project: int) -> None:
    given = Trigger("p", "t", TriggerKind.WEBHOOK, Webhook("t"), active=True, max_active_runs=1)
    number = await keep_api_trigger(database, project, row_of(given))
    for _ in range(5):
        await queue(database, project, (f"trigger:{number}", 1))
    await database.execute("UPDATE headrace.run SET trigger_id = $1", number)
    woken: list[int] = []
    follower = CapFollower(database, project, lambda uuid: RunLimits(), lambda: woken.append(1), SystemClock())
    await admit_runs(database, project)
    await follower.look()
    assert (len(await admitted(database)), woken) == (1, [])
    for cap, counted in ((3, 3), (2, 3), (None, 5)):
        await keep_api_trigger(database, project, row_of(replace(given, max_active_runs=cap)))
        await follower.look()
        await admit_runs(database, project)
        assert len(await admitted(database)) == counted


async def test_a_lower_cap_keeps_those_waiting_that_were_made_under_a_higher_one(
    database: Database, project: int
) -> None:
    limits = RunLimits(runs=3)
    follower = CapFollower(database, project, lambda uuid: limits, lambda: None, SystemClock())
    gate = f"pipeline:{project}/p"
    runs = [await queue(database, project, (gate, 3)) for _ in range(6)]
    await admit_runs(database, project)
    limits = RunLimits(runs=1)
    await follower.look()
    for run in runs[:2]:
        await end(database, run)
        await admit_runs(database, project)
    assert await admitted(database) == runs[:3]
    assert await cap_in_force(database, runs[3], gate) == 1
    await end(database, runs[2])
    await admit_runs(database, project)
    assert await admitted(database) == runs[:4]


async def test_a_change_of_a_cap_says_nothing_of_runs_that_were_made_after_it(database: Database, project: int) -> None:
    gate = f"pipeline:{project}/p"
    await keep_caps(database, {gate: 4})
    for _ in range(3):
        await queue(database, project, (gate, 1))
    await admit_runs(database, project)
    assert len(await admitted(database)) == 1
    await database.execute("UPDATE headrace.run SET created_at = now() - interval '1 minute'")
    await Sweeper(database, SystemClock(), 1.0).sweep()
    assert await cap_in_force(database, 3, gate) == 4
    await database.execute("UPDATE headrace.run SET created_at = now()")
    await Sweeper(database, SystemClock(), 1.0).sweep()
    assert await database.fetchval("SELECT count(*) FROM headrace.gate") == 0


async def test_limits_of_files_are_followed_while_runs_wait(database_url: str, tmp_path: Path) -> None:
    def limited(**limits: int) -> None:
        write_pipeline(tmp_path, "orders", {"only": []}, {"only": WAIT}, options={"concurrency_config": limits})

    write_project(tmp_path)
    limited(pipeline_run_limit_all_triggers=1)
    environ = {"HEADRACE_DATABASE_URL": database_url}
    async with open_headrace(tmp_path, environ=environ, claim_all=True) as headrace:
        runs = [await headrace.create_run("orders") for _ in range(5)]
        for most in (1, 3):
            limited(pipeline_run_limit_all_triggers=most)
            await running(headrace.database, most)
            (told, *_) = await why(headrace.database, runs[-1])
            assert f"the limit of pipeline orders ({most} at once)" in told
        limited()
        await running(headrace.database, 5)
        (tmp_path / "go").touch()
        assert [(await headrace.finished(run)).status for run in runs] == ["completed"] * 5


async def running(database: Database, count: int) -> None:
    """Wait until so many blocks run, which must never be more."""
    found = -1
    async with asyncio.timeout(30):
        while found != count:
            await asyncio.sleep(0.02)
            found = await database.fetchval("SELECT count(*) FROM headrace.block_run WHERE status = 'running'")
            assert found <= count


async def test_ten_thousand_that_wait_are_parked_once_and_cost_a_claim_nothing(
    database: Database, project: int
) -> None:
    first = await queue(database, project, ("g", 1))
    await database.execute(
        "INSERT INTO headrace.run (project_id, pipeline, version, gates, gate_caps, parked_on)"
        " SELECT $1, 'p', 'v', ARRAY['g'], ARRAY[1], 'g' FROM generate_series(1, 10000)",
        project,
    )
    await database.execute("ANALYZE headrace.run")
    await admit_runs(database, project)
    assert await admitted(database) == [first]
    plan = await database.fetch(
        "EXPLAIN SELECT id FROM headrace.run WHERE project_id = 1 AND status = 'initial' AND gates IS NOT NULL"
        " AND admitted_at IS NULL AND parked_on IS NULL ORDER BY rank, id LIMIT 200"
    )
    assert "run_to_admit" in "\n".join(row[0] for row in plan)
    await end(database, first)
    await admit_runs(database, project)
    assert len(await admitted(database)) == 2


async def test_runs_of_one_customer_go_one_at_a_time_and_tell_behind_whom(database_url: str, tmp_path: Path) -> None:
    write_project(tmp_path)
    options = {"concurrency_config": {"concurrency_key": "{{ customer }}"}}
    write_pipeline(tmp_path, "orders", {"only": []}, {"only": WAIT}, options=options)
    environ = {"HEADRACE_DATABASE_URL": database_url}
    async with open_headrace(tmp_path, environ=environ, claim_all=True) as headrace:
        first = await headrace.create_run("orders", variables={"customer": "acme"})
        async for view in headrace.changes(first):
            if view.blocks[0].status == "running":
                break
        second = await headrace.create_run("orders", variables={"customer": "acme"})
        other = await headrace.create_run("orders", variables={"customer": "bolt"})
        async for view in headrace.changes(other):
            if view.blocks[0].status == "running":
                break
        (reason,) = await why(headrace.database, second)
        assert reason == (
            f"waiting for the concurrency key orders/acme (1 at once), held by run {first} (running); it is next"
        )
        (tmp_path / "go").touch()
        ended = [await headrace.finished(run) for run in (first, second, other)]
    assert [view.status for view in ended] == ["completed"] * 3
    assert ended[1].started_at
    assert ended[0].finished_at
    assert ended[1].started_at >= ended[0].finished_at
