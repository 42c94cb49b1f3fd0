"""Pools hold over all services, whatever waits for a slot tells behind whom, and a killed holder leaks nothing."""

from __future__ import annotations

import asyncio
import os
from datetime import timedelta
from pathlib import Path

import yaml
from headrace.engine.engine import EngineSettings
from headrace.service import open_headrace
from headrace.store.database import Database
from headrace.store.slots import Ask, ask_for_slots, release_slots, slots_of_runs

from tests.support.projects import write_pipeline, write_project
from tests.support.services import start_service

SLEEP = "import time\n\n@custom\ndef body(*args, **kwargs):\n    time.sleep(0.05)\n"
WAIT = (
    "import os, time\n\n@custom\ndef body(*args, **kwargs):\n"
    "    while not os.path.exists(kwargs['repo_path'] + '/go'):\n        time.sleep(0.01)\n"
)


def project(root: Path, pools: dict[str, int]) -> None:
    write_project(root)
    (root / "metadata.yaml").write_text(yaml.safe_dump({"project_type": "standalone", "pools": pools}))


async def most_at_once(database: Database) -> int:
    """The largest number of blocks that ran at one moment, by the recorded times."""
    rows = await database.fetch("SELECT started_at, finished_at FROM headrace.block_run")
    moments = sorted([(row["started_at"], 1) for row in rows] + [(row["finished_at"], -1) for row in rows])
    most = running = 0
    for _, change in moments:
        running += change
        most = max(most, running)
    return most


async def test_a_pool_is_never_overdrawn_by_two_services(database: Database, database_url: str, tmp_path: Path) -> None:
    project(tmp_path, {"db": 3})
    blocks = {f"b{number}": [] for number in range(8)}
    options = {block: {"pool": "db"} for block in blocks}
    write_pipeline(tmp_path, "wide", blocks, default=SLEEP, block_options=options)
    environ = {"HEADRACE_DATABASE_URL": database_url}
    async with (
        open_headrace(tmp_path, environ=environ, claim_all=True) as one,
        open_headrace(tmp_path, environ=environ, claim_all=True) as two,
    ):
        runs = [await (one, two)[number % 2].create_run("wide") for number in range(4)]
        ended = [await one.finished(run) for run in runs]
    assert [view.status for view in ended] == ["completed"] * 4
    assert 2 <= await most_at_once(database) <= 3


async def test_the_limit_of_a_pipelines_blocks_holds_over_all_its_runs(
    database: Database, database_url: str, tmp_path: Path
) -> None:
    project(tmp_path, {})
    options = {"concurrency_config": {"pipeline_block_limit": 2}}
    write_pipeline(tmp_path, "wide", {f"b{number}": [] for number in range(4)}, default=SLEEP, options=options)
    async with open_headrace(tmp_path, environ={"HEADRACE_DATABASE_URL": database_url}) as headrace:
        runs = [await headrace.create_run("wide") for _ in range(3)]
        for run in runs:
            assert (await headrace.finished(run)).status == "completed"
    assert await most_at_once(database) <= 2


async def test_what_waits_for_a_slot_tells_who_holds_it(database_url: str, tmp_path: Path) -> None:
    project(tmp_path, {"db": 1})
    write_pipeline(tmp_path, "p", {"only": []}, {"only": WAIT}, block_options={"only": {"pool": "db"}})
    async with open_headrace(tmp_path, environ={"HEADRACE_DATABASE_URL": database_url}) as headrace:
        first = await headrace.create_run("p")
        async for view in headrace.changes(first):
            if view.blocks[0].status == "running":
                break
        second, third = await headrace.create_run("p"), await headrace.create_run("p")
        told = f"block only: waiting for a slot of pool db (1 slots), held by run {first} block only"
        async with asyncio.timeout(20):
            while await headrace.why(third) != [f"{told}; 1 more wait before it"]:
                await asyncio.sleep(0.01)
        assert await headrace.why(second) == [f"{told}; it is next"]
        await headrace.cancel(second)
        assert (await headrace.finished(second)).status == "cancelled"
        (tmp_path / "go").touch()
        assert (await headrace.finished(third)).status == "completed"
        assert await headrace.why(third) == []


async def test_a_killed_holders_slot_is_free_again_once_its_lease_is_over(
    database: Database, database_url: str, tmp_path: Path
) -> None:
    project(tmp_path, {"db": 1})
    write_pipeline(tmp_path, "p", {"only": []}, {"only": WAIT}, block_options={"only": {"pool": "db"}})
    environ = {"HEADRACE_DATABASE_URL": database_url}
    kills = int(os.environ.get("HEADRACE_CHAOS_HOLDERS", "3"))
    async with open_headrace(tmp_path, environ=environ, drive=False) as headrace:
        runs = [await headrace.create_run("p") for _ in range(2)]
        for _ in range(kills):
            holder = await start_service(tmp_path, database_url, lease=1.0)
            async with asyncio.timeout(20):
                while await database.fetchval("SELECT count(*) FROM headrace.block_run WHERE status = 'running'") != 1:
                    await asyncio.sleep(0.01)
                # The one before was killed too: its run was taken over, and holds the slot again.
                while not await database.fetchval("SELECT count(*) FROM headrace.slot WHERE granted_at IS NOT NULL"):
                    await asyncio.sleep(0.01)
            await holder.kill()
    (tmp_path / "go").touch()
    settings = EngineSettings(lease=1.0, poll=0.1)
    async with open_headrace(tmp_path, environ=environ, claim_all=True, settings=settings) as headrace:
        began = await database.fetchval("SELECT now()")
        for run in runs:
            view = await headrace.finished(run)
            assert view.status == "completed"
            assert view.finished_at is not None
            assert view.finished_at - began < timedelta(seconds=10)
    async with open_headrace(tmp_path, environ=environ) as headrace:
        last = await headrace.create_run("p")
        assert (await headrace.finished(last)).status == "completed"


async def test_a_paused_holder_is_fenced_off_before_its_slot_goes_to_another(
    database: Database, database_url: str, tmp_path: Path
) -> None:
    project(tmp_path, {"db": 1})
    write_pipeline(tmp_path, "p", {"only": []}, {"only": WAIT}, block_options={"only": {"pool": "db"}})
    environ = {"HEADRACE_DATABASE_URL": database_url}
    async with open_headrace(tmp_path, environ=environ, drive=False) as headrace:
        first = await headrace.create_run("p")
        holder = await start_service(tmp_path, database_url, lease=1.0)
        try:
            async with asyncio.timeout(20):
                while await database.fetchval("SELECT count(*) FROM headrace.block_run WHERE status = 'running'") != 1:
                    await asyncio.sleep(0.01)
            fence = await database.fetchval("SELECT fence FROM headrace.run_step WHERE run_id = $1", first)
            holder.pause()
            async with open_headrace(tmp_path, environ=environ) as other:
                second = await other.create_run("p")
                async for view in other.changes(second):
                    if view.blocks[0].status == "running":
                        break
                assert await database.fetchval("SELECT fence FROM headrace.run_step WHERE run_id = $1", first) > fence
                holder.go_on()
                (tmp_path / "go").touch()
                assert (await other.finished(second)).status == "completed"
        finally:
            await holder.kill()
    async with open_headrace(tmp_path, environ=environ, claim_all=True) as headrace:
        view = await headrace.finished(first)
    assert view.status == "completed"
    rows = await database.fetch("SELECT outcome FROM headrace.attempt WHERE run_id = $1 ORDER BY number", first)
    outcomes = [row["outcome"] for row in rows]
    # Once it went on, the holder may have taken the run up again before it was killed.
    assert outcomes in (["lost", "completed"], ["lost", "lost", "completed"])


async def test_whoever_lost_a_run_cannot_give_back_what_its_new_driver_holds(database: Database) -> None:
    project = await database.fetchval("INSERT INTO headrace.project (path, name) VALUES ('/p', 'p') RETURNING id")
    await database.execute("INSERT INTO headrace.pipeline_version (hash, pipeline, definition) VALUES ('h', 'p', '{}')")
    run = await database.fetchval(
        "INSERT INTO headrace.run (project_id, pipeline, version) VALUES ($1, 'p', 'h') RETURNING id", project
    )
    await ask_for_slots(database, [Ask((run, "b"), 1, {"db": 1})])
    await ask_for_slots(database, [Ask((run, "b"), 2, {"db": 1})])
    await release_slots(database, {(run, "b"): 1})
    assert await slots_of_runs(database, [run]) == {(run, "b"): False}
    await release_slots(database, {(run, "b"): 2})
    assert await slots_of_runs(database, [run]) == {}
