"""kill -9 at random instants: of the service (fault 1), of a worker (2), of Postgres (5), of one service of two (16)."""

from __future__ import annotations

import asyncio
import os
import random
import signal
from pathlib import Path

import asyncpg
import pytest
from headrace.service import open_headrace
from headrace.store.errors import DATABASE_AWAY

from tests.chaos.checker import faults
from tests.support.postgres import server_environ, server_home
from tests.support.processes import grandchildren
from tests.support.projects import write_pipeline, write_project
from tests.support.services import service, start_service

INSTANTS = int(os.environ.get("HEADRACE_CHAOS_INSTANTS", "8"))
"""How many kills a test makes; the long form asks for more."""

LEDGER = """
import os
@custom
def body(*args, **kwargs):
    with open({ledger!r}, "a") as ledger:
        ledger.write(f"{{kwargs['pipeline_run_id']}} {{kwargs['block_uuid']}} {{os.getpid()}}\\n")
    return {{"sum": len(args), "block": kwargs["block_uuid"]}}
"""


def branching(blocks: int) -> dict[str, tuple[str, ...]]:
    """A root, three branches side by side, and a join at the end."""
    edges: dict[str, tuple[str, ...]] = {"b00": ()}
    tails = ["b00", "b00", "b00"]
    for number in range(1, blocks - 1):
        lane = number % 3
        edges[f"b{number:02d}"] = (tails[lane],)
        tails[lane] = f"b{number:02d}"
    edges[f"b{blocks - 1:02d}"] = tuple(dict.fromkeys(tails))
    return edges


@pytest.fixture
def project(tmp_path: Path) -> Path:
    root = write_project(tmp_path / "project")
    write_pipeline(root, "branching", branching(20), default=LEDGER.format(ledger=str(tmp_path / "ledger")))
    return root


async def create(project: Path, database_url: str, pipeline: str = "branching") -> int:
    environ = {**os.environ, "HEADRACE_DATABASE_URL": database_url}
    async with open_headrace(project, environ=environ, drive=False) as headrace:
        return await headrace.create_run(pipeline)


async def ended(database_url: str, runs: list[int], seconds: float = 60) -> list[str]:
    """Wait until runs have ended; their statuses."""
    connection = await asyncpg.connect(database_url)
    try:
        async with asyncio.timeout(seconds):
            while True:
                rows = await connection.fetch(
                    "SELECT status, finished_at FROM headrace.run WHERE id = ANY ($1) ORDER BY id", runs
                )
                if all(row["finished_at"] for row in rows):
                    return [row["status"] for row in rows]
                await asyncio.sleep(0.02)
    finally:
        await connection.close()


async def assert_no_committed_block_ran_again(database_url: str, tmp_path: Path) -> None:
    """A block's body may run once for each attempt that started, and never after the attempt that completed."""
    connection = await asyncpg.connect(database_url)
    try:
        assert await faults(connection) == []
        rows = await connection.fetch("SELECT run_id, block, attempt FROM headrace.block_run")
    finally:
        await connection.close()
    ran: dict[tuple[int, str], int] = {}
    for line in (tmp_path / "ledger").read_text().splitlines():
        run, block, _ = line.split()
        ran[int(run), block] = ran.get((int(run), block), 0) + 1
    for row in rows:
        count = ran.get((row["run_id"], row["block"]), 0)
        assert 1 <= count <= row["attempt"], (
            f"{row['run_id']}/{row['block']}: {count} bodies, {row['attempt']} attempts"
        )


@pytest.mark.chaos
@pytest.mark.timeout(600)
async def test_runs_survive_kill_9_of_their_service_at_random_instants(project, database_url, tmp_path):
    chance = random.Random(1)
    runs = []
    for _ in range(INSTANTS):
        victim = await start_service(project, database_url, lease=0.5)
        runs.append(await create(project, database_url))
        await asyncio.sleep(chance.uniform(0.0, 0.12))
        await victim.kill()
    async with service(project, database_url, lease=0.5):
        assert await ended(database_url, runs) == ["completed"] * len(runs)
    await assert_no_committed_block_ran_again(database_url, tmp_path)


@pytest.mark.chaos
@pytest.mark.timeout(600)
async def test_a_killed_worker_costs_one_attempt_and_nothing_else(tmp_path, database_url):
    root = write_project(tmp_path / "project")
    write_pipeline(
        root,
        "branching",
        branching(20),
        default="import time\n" + LEDGER.format(ledger=str(tmp_path / "ledger")) + "\n    time.sleep(0.01)\n",
        options={"retry_config": {"retries": 50, "delay": 0.01, "max_delay": 0.05}},
    )
    chance = random.Random(2)
    async with service(root, database_url) as running:
        runs = [await create(root, database_url) for _ in range(3)]
        waiting = asyncio.create_task(ended(database_url, runs, 90))
        for _ in range(INSTANTS):
            await asyncio.sleep(chance.uniform(0.01, 0.05))
            for pid in grandchildren(running.pid)[:1]:
                os.kill(pid, signal.SIGKILL)
        assert await waiting == ["completed"] * 3
    connection = await asyncpg.connect(database_url)
    try:
        assert await faults(connection) == []
    finally:
        await connection.close()


@pytest.mark.chaos
@pytest.mark.timeout(600)
async def test_a_paused_service_is_fenced_off_and_its_run_is_driven_once(tmp_path, database_url):
    root = write_project(tmp_path / "project")
    source = "import time\n@custom\ndef body(*args, **kwargs):\n    time.sleep(0.2)\n    return 1\n"
    write_pipeline(root, "slow", {f"b{n}": (f"b{n - 1}",) if n else () for n in range(10)}, default=source)
    first = await start_service(root, database_url, lease=0.6)
    try:
        run = await create(root, database_url, "slow")
        connection = await asyncpg.connect(database_url)
        try:
            while not await connection.fetchval(
                "SELECT count(*) FROM headrace.block_run WHERE run_id = $1 AND status = 'completed'", run
            ):
                await asyncio.sleep(0.01)
            first.pause()
            fence = await connection.fetchval("SELECT fence FROM headrace.run WHERE id = $1", run)
            async with service(root, database_url, lease=0.6):
                while await connection.fetchval("SELECT fence FROM headrace.run WHERE id = $1", run) == fence:
                    await asyncio.sleep(0.02)
                first.go_on()
                assert await ended(database_url, [run]) == ["completed"]
            assert await faults(connection) == []
            writers = await connection.fetch(
                "SELECT fence, min(finished_at) AS first, max(finished_at) AS last FROM headrace.attempt "
                "WHERE run_id = $1 GROUP BY fence ORDER BY fence",
                run,
            )
            assert len(writers) == 2
            assert writers[0]["last"] < writers[1]["first"], "the first service wrote after it had lost the run"
        finally:
            await connection.close()
    finally:
        await first.kill()


@pytest.mark.chaos
@pytest.mark.timeout(600)
async def test_two_services_share_runs_and_no_run_is_driven_twice(project, database_url, tmp_path):
    async with service(project, database_url, lease=5), service(project, database_url, lease=5, log=tmp_path / "2.log"):
        runs = [await create(project, database_url) for _ in range(6)]
        assert await ended(database_url, runs) == ["completed"] * 6
    connection = await asyncpg.connect(database_url)
    try:
        rows = await connection.fetch(
            "SELECT run_id FROM headrace.attempt GROUP BY run_id HAVING count(DISTINCT service) > 1"
        )
        assert rows == []
        assert await connection.fetchval("SELECT max(attempt) FROM headrace.block_run") == 1
    finally:
        await connection.close()
    await assert_no_committed_block_ran_again(database_url, tmp_path)


@pytest.mark.chaos
@pytest.mark.timeout(600)
async def test_runs_survive_kill_9_of_postgres(tmp_path):
    root = write_project(tmp_path / "project")
    write_pipeline(root, "branching", branching(20), default=LEDGER.format(ledger=str(tmp_path / "ledger")))
    chance = random.Random(3)
    with server_home() as home:
        await assert_runs_survive_kills_of_postgres(root, server_environ(home), chance, tmp_path)


async def assert_runs_survive_kills_of_postgres(root, environ, chance, tmp_path):
    async with open_headrace(root, environ=environ) as headrace:
        for _ in range(max(INSTANTS // 2, 3)):
            run = await headrace.create_run("branching")
            await asyncio.sleep(chance.uniform(0.0, 0.1))
            folder = headrace.database.address.folder
            assert folder is not None
            os.kill(int((folder / "postmaster.pid").read_text().splitlines()[0]), signal.SIGKILL)
            async with asyncio.timeout(60):
                while (await patiently(headrace.show, run)).status not in ("completed", "failed", "cancelled"):
                    await asyncio.sleep(0.05)
            assert (await patiently(headrace.show, run)).status == "completed"
        dsn = headrace.database.address.dsn
        await assert_no_committed_block_ran_again(dsn, tmp_path)


async def patiently(read, *arguments):
    """Read while the server is coming back."""
    while True:
        try:
            return await read(*arguments)
        except DATABASE_AWAY:
            await asyncio.sleep(0.05)
