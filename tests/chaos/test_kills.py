"""kill -9 at random instants and at named ones: of the service, of a worker, of Postgres."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from pathlib import Path

import pytest
from headrace.service import open_headrace
from headrace.store.errors import DATABASE_AWAY

from tests.chaos.checker import faults, orphan_blobs
from tests.chaos.histories import INSTANTS, assert_history_holds, branching_project, create, ended
from tests.chaos.telling import tell
from tests.support.postgres import server_environ, server_home
from tests.support.processes import grandchildren
from tests.support.projects import write_pipeline, write_project
from tests.support.services import Instant, launch, service, start_service

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(1800)]


async def duration_of_a_run(project: Path, database_url: str) -> float:
    """Seconds that a run takes when nobody disturbs it."""
    async with service(project, database_url):
        first = await create(project, database_url)
        await ended(database_url, [first])
        began = time.monotonic()
        await ended(database_url, [await create(project, database_url)])
        return time.monotonic() - began


async def test_fault_01_runs_survive_kill_9_of_their_service_at_random_instants(tmp_path, database_url):
    """Every second kill hits a service that is only just starting, the others one that has a run to drive."""
    project = branching_project(tmp_path)
    chance = random.Random(1)
    longest = await duration_of_a_run(project, database_url)
    runs = []
    for number in range(INSTANTS):
        runs.append(await create(project, database_url))
        if number % 4 == 3:
            victim = await launch(project, database_url, lease=0.5)
            await asyncio.sleep(chance.uniform(0.0, 2.0))
        else:
            victim = await start_service(project, database_url, lease=0.5)
            await asyncio.sleep(chance.uniform(0.0, longest))
        await victim.kill()
    async with service(project, database_url, lease=0.5):
        assert await ended(database_url, runs, 300) == ["completed"] * len(runs)
    await assert_history_holds(database_url, tmp_path)
    tell(f"kill -9 of the service at {INSTANTS} instants: {len(runs)} runs completed")


STEPS = 6
"""Of the steps of a run, how many of the first are torn; the long form tears more."""
NAMED = [
    Instant("headrace.engine.engine", "claim_runs", "after"),
    Instant("headrace.engine.shelf", "store_blob", "before"),
    Instant("headrace.engine.shelf", "store_blob", "after"),
    Instant("headrace.engine.shelf", "store_blob", "after", 4),
    Instant("headrace.engine.log_writer", "store_log_lines", "before"),
    *(
        Instant("headrace.engine.writer", "record_steps", when, count)
        for count in range(1, 2 + (STEPS if INSTANTS < 50 else 20))
        for when in ("before", "after")
    ),
]


@pytest.mark.parametrize("instant", NAMED, ids=str)
async def test_fault_01_runs_survive_the_death_of_their_service_at_each_step_of_their_record(
    tmp_path, database_url, instant
):
    project = branching_project(tmp_path, pause=0, pad=100_000 if "blob" in instant.name else 0)
    run = await create(project, database_url)
    victim = await launch(project, database_url, lease=0.5, first=instant.source)
    assert await victim.gone() == -signal.SIGKILL, (project / "service.log").read_text()
    async with service(project, database_url, lease=0.5):
        assert await ended(database_url, [run]) == ["completed"]
    await assert_history_holds(database_url, tmp_path)


async def test_fault_01_what_a_killed_attempt_had_stored_is_swept(tmp_path, database_url):
    project = branching_project(tmp_path, pause=0, pad=100_000)
    root = project / "pipelines" / "branching" / "b00.py"  # equal content would be taken up again by the next attempt
    root.write_text(root.read_text().replace('"x" *', 'str(kwargs["retry"]["attempts"]) *'))
    run = await create(project, database_url)
    victim = await launch(
        project, database_url, lease=0.5, first=Instant("headrace.engine.shelf", "store_blob", "after").source
    )
    await victim.gone()
    async with service(project, database_url, lease=0.5):
        assert await ended(database_url, [run]) == ["completed"]
    environ = {**os.environ, "HEADRACE_DATABASE_URL": database_url}
    async with open_headrace(project, environ=environ) as headrace, headrace.database.connection() as connection:
        assert len(await orphan_blobs(connection)) == 1
        headrace.engine.sweeper.age = 0.0
        assert await headrace.engine.sweeper.sweep() == 1
        assert await orphan_blobs(connection) == []
        assert await faults(connection) == []


async def test_fault_02_a_killed_worker_costs_one_attempt_and_nothing_else(tmp_path, database_url):
    project = branching_project(tmp_path, pause=0.02, retry_config={"retries": 100, "delay": 0.01, "max_delay": 0.05})
    chance = random.Random(2)
    async with service(project, database_url) as running:
        runs = [await create(project, database_url) for _ in range(2 + INSTANTS // 8)]
        waiting, killed = asyncio.create_task(ended(database_url, runs, 300)), 0
        for _ in range(INSTANTS):
            await asyncio.sleep(chance.uniform(0.01, 0.05))
            victims = grandchildren(running.pid)
            if victims:
                os.kill(chance.choice(victims), signal.SIGKILL)
                killed += 1
        assert await waiting == ["completed"] * len(runs)
    tell(f"kill -9 of {killed} workers: {len(runs)} runs completed")
    await assert_history_holds(database_url, tmp_path)


async def test_fault_02_a_killed_block_tells_the_signal_keeps_its_log_and_is_tried_again(tmp_path, database_url):
    project = write_project(tmp_path / "project")
    source = (
        "import os\n@custom\ndef body(**kwargs):\n    for i in range(500): print(i)\n"
        "    if kwargs['retry']['attempts'] == 1: os.kill(os.getpid(), 9)\n"
    )
    write_pipeline(project, "p", {"a": ()}, {"a": source}, options={"retry_config": {"retries": 1, "delay": 0}})
    environ = {**os.environ, "HEADRACE_DATABASE_URL": database_url}
    async with open_headrace(project, environ=environ) as headrace:
        view = await headrace.finished(await headrace.create_run("p"))
        assert view.status == "completed"
        error = await headrace.database.fetchval("SELECT error FROM headrace.attempt WHERE number = 1")
        assert "signal 9" in error["message"]
        lines = [line.text async for line in headrace.logs(view.id)]
        assert lines[:500] == [str(number) for number in range(500)]


async def test_fault_04_no_process_outlives_its_service(tmp_path, database_url):
    project = write_project(tmp_path / "project")
    source = (
        "import os, subprocess, time\n@custom\ndef body():\n"
        "    child = subprocess.Popen(['sleep', '60'], start_new_session=True)\n"
        f"    open({str(tmp_path / 'pids')!r}, 'w').write(f'{{os.getpid()}} {{child.pid}}\\n')\n    time.sleep(60)\n"
    )
    write_pipeline(project, "p", {"a": ()}, {"a": source})
    victim = await start_service(project, database_url)
    await create(project, database_url, "p")
    async with asyncio.timeout(20):
        while not (tmp_path / "pids").exists() or not (tmp_path / "pids").read_text().endswith("\n"):
            await asyncio.sleep(0.01)
        pids = [int(pid) for pid in (tmp_path / "pids").read_text().split()] + grandchildren(victim.pid)
        await victim.kill()
        while any(Path(f"/proc/{pid}").exists() for pid in pids):
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGQUIT, signal.SIGINT], ids=["kill", "immediate", "fast"])
async def test_fault_05_runs_survive_the_end_of_postgres_at_random_instants(tmp_path, number):
    """kill -9, an immediate and a fast shutdown; the keeper starts it again each time."""
    project = branching_project(tmp_path, pad=20_000)
    with server_home() as home:
        await assert_runs_survive_the_end_of_postgres(project, server_environ(home), number, tmp_path)


async def assert_runs_survive_the_end_of_postgres(project, environ, number, tmp_path):
    chance = random.Random(number)
    async with open_headrace(project, environ=environ) as headrace:
        folder = headrace.database.address.folder
        assert folder is not None
        began = time.monotonic()
        await headrace.finished(await headrace.create_run("branching"))
        longest = time.monotonic() - began
        times = INSTANTS if number == signal.SIGKILL and INSTANTS >= 50 else max(INSTANTS // 3, 2)
        for _ in range(times):
            run = await patiently(headrace.create_run, "branching")
            await asyncio.sleep(chance.uniform(0.0, longest))
            ended = _postmaster(folder)
            os.kill(ended, number)
            async with asyncio.timeout(60):
                while (view := await patiently(headrace.show, run)).status not in ("completed", "failed", "cancelled"):
                    await asyncio.sleep(0.05)
                while _postmaster(folder) in (0, ended):  # a run that was over already does not wait for the server
                    await asyncio.sleep(0.05)
            assert view.status == "completed", view.reason
            await patiently(headrace.show, run)
        tell(f"Postgres ended by {signal.Signals(number).name} at {times} instants of a run: all completed")
        await patiently(assert_history_holds, headrace.database.address.dsn, tmp_path)


def _postmaster(folder: Path) -> int:
    """The server's pid; 0 while there is none."""
    try:
        return int((folder / "postmaster.pid").read_text().splitlines()[0])
    except (OSError, IndexError, ValueError):
        return 0


async def patiently(read, *arguments):
    """Read while the server is coming back."""
    while True:
        try:
            return await read(*arguments)
        except DATABASE_AWAY:
            await asyncio.sleep(0.05)


@pytest.mark.parametrize(
    "body", ["import ctypes; ctypes.string_at(0)", "import os; os._exit(139)"], ids=["segfault", "exit"]
)
async def test_fault_26_a_block_that_kills_its_interpreter_each_time_ends_after_its_attempts(
    tmp_path, database_url, body
):
    project = write_project(tmp_path / "project")
    source = f"@custom\ndef body(*args):\n    {body}\n"
    write_pipeline(project, "poison", {"a": (), "b": ("a",)}, {"a": source},
                   options={"retry_config": {"retries": 2, "delay": 0.01}})  # fmt: skip
    write_pipeline(project, "well", {"a": ()})
    environ = {**os.environ, "HEADRACE_DATABASE_URL": database_url}
    async with open_headrace(project, environ=environ) as headrace:
        poison, well = await headrace.create_run("poison"), await headrace.create_run("well")
        assert (await headrace.finished(well)).status == "completed"
        view = await headrace.finished(poison)
        assert (view.status, view.blocks[0].attempt) == ("failed", 3)
        async with headrace.database.connection() as connection:
            assert await faults(connection) == []


async def test_a_leftover_of_a_killed_service_on_this_machine_is_cleared_by_the_next(tmp_path, database_url):
    project = branching_project(tmp_path, pad=100_000)
    await create(project, database_url)
    first = Instant("headrace.engine.writer", "record_steps", "before", 4)
    victim = await launch(project, database_url, lease=0.5, first=first.source)
    await victim.gone()
    left = list((project / ".headrace" / "work").iterdir())
    assert len(left) == 1
    async with service(project, database_url, lease=0.5):
        assert not left[0].exists()
