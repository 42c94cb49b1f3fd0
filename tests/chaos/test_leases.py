"""Services that share a database: paused, starved, with clocks that are wrong, cut off; each run has one driver."""

from __future__ import annotations

import asyncio
import os
import time

import asyncpg
import pytest
from headrace.engine.clock import SystemClock
from headrace.engine.engine import EngineSettings
from headrace.engine.world import World
from headrace.service import open_headrace

from tests.chaos.checker import faults
from tests.chaos.histories import assert_history_holds, branching_project, create, ended
from tests.support.projects import write_pipeline, write_project
from tests.support.proxy import proxy
from tests.support.services import service, start_service

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(600)]

SLOW = "import time\n@custom\ndef body(*args, **kwargs):\n    time.sleep(0.2)\n    return 1\n"


@pytest.fixture
async def watcher(database_url):
    """A connection beside those of the services."""
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()


async def until(watcher, sql, *arguments):
    """Wait for a query to give a true value."""
    async with asyncio.timeout(30):
        while not (value := await watcher.fetchval(sql, *arguments)):
            await asyncio.sleep(0.01)
    return value


def opened(project, database_url, **settings):
    environ = {**os.environ, "HEADRACE_DATABASE_URL": database_url}
    return open_headrace(project, environ=environ, claim_all=True, settings=EngineSettings(**settings))


async def test_two_services_share_runs_and_no_run_is_driven_twice(tmp_path, database_url, watcher):
    project = branching_project(tmp_path)
    async with service(project, database_url, lease=5), service(project, database_url, lease=5, log=tmp_path / "2.log"):
        runs = [await create(project, database_url) for _ in range(8)]
        assert await ended(database_url, runs) == ["completed"] * 8
    drivers = await watcher.fetch("SELECT run_id, count(DISTINCT service) AS n FROM headrace.attempt GROUP BY run_id")
    assert {row["n"] for row in drivers} == {1}
    assert await watcher.fetchval("SELECT count(DISTINCT service) FROM headrace.attempt") == 2, "both had work"
    assert await watcher.fetchval("SELECT max(attempt) FROM headrace.block_run") == 1
    assert await watcher.fetchval("SELECT max(fence) FROM headrace.run") == 1
    await assert_history_holds(database_url, tmp_path)


async def test_fault_16_a_paused_service_is_fenced_off_and_stops_its_blocks(tmp_path, database_url, watcher):
    """SIGSTOP for three leases, then SIGCONT: whatever it writes is refused, and its block's process is gone."""
    project, pids, lease = write_project(tmp_path / "project"), tmp_path / "pids", 0.6
    source = (
        f"import os, time\n@custom\ndef body(*args, **kwargs):\n    open({str(pids)!r}, 'a').write(f'{{os.getpid()}}\\n')\n"
        "    first = kwargs['block_uuid'] == 'b2' and kwargs['retry']['attempts'] == 1\n"
        "    time.sleep(60 if first else 0.1)\n    return 1\n"
    )
    write_pipeline(project, "slow", {f"b{n}": (f"b{n - 1}",) if n else () for n in range(10)}, default=source)
    first = await start_service(project, database_url, lease=lease)
    try:
        run = await create(project, database_url, "slow")
        await until(watcher, "SELECT status = 'running' FROM headrace.block_run WHERE block = 'b2'")
        async with asyncio.timeout(10):
            while pids.read_text().count("\n") < 3:
                await asyncio.sleep(0.005)
        first.pause()
        paused_at, worker = time.monotonic(), int(pids.read_text().split()[-1])
        fence = await watcher.fetchval("SELECT fence FROM headrace.run WHERE id = $1", run)
        async with service(project, database_url, lease=lease, log=tmp_path / "2.log"):
            await until(watcher, "SELECT fence > $2 FROM headrace.run WHERE id = $1", run, fence)
            await asyncio.sleep(max(paused_at + 3 * lease - time.monotonic(), 0))
            first.go_on()
            assert await ended(database_url, [run]) == ["completed"]
            async with asyncio.timeout(10):
                while os.path.exists(f"/proc/{worker}"):
                    await asyncio.sleep(0.02)
        assert await faults(watcher) == []
        writers = await watcher.fetch(
            "SELECT service, fence, min(finished_at) AS first, max(finished_at) AS last FROM headrace.attempt "
            "WHERE run_id = $1 GROUP BY service, fence ORDER BY fence",
            run,
        )
        assert len(writers) == 2
        assert writers[0]["last"] < writers[1]["first"], "the first service wrote after it had lost the run"
        lost = await watcher.fetch("SELECT block, number FROM headrace.attempt WHERE outcome = 'lost'")
        assert [(row["block"], row["number"]) for row in lost] == [("b2", 1)]
        assert "is not this service's any more" in (project / "service.log").read_text()
    finally:
        await first.kill()


@pytest.mark.alone
async def test_fault_16_a_service_that_is_cut_off_from_the_database_stops_its_blocks_within_its_lease(
    tmp_path, database_url, watcher
):
    """No write is needed to make it notice: the block runs for ever and says nothing."""
    project, pids = write_project(tmp_path / "project"), tmp_path / "pids"
    source = (
        f"import os, time\n@custom\ndef body(*args, **kwargs):\n    open({str(pids)!r}, 'a').write(f'{{os.getpid()}}\\n')\n"
        f"    while open({str(pids)!r}).read().count('\\n') < 2: time.sleep(0.01)\n"
    )
    write_pipeline(project, "long", {"a": ()}, {"a": source})
    async with proxy(database_url) as between:
        cut_off = await start_service(project, between.url, lease=1.0)
        try:
            run = await create(project, database_url, "long")
            async with asyncio.timeout(20):
                while not pids.exists() or not pids.read_text().endswith("\n"):
                    await asyncio.sleep(0.01)
            worker = int(pids.read_text())
            between.silence()
            silent_at = time.monotonic()
            async with asyncio.timeout(20):
                while os.path.exists(f"/proc/{worker}"):
                    await asyncio.sleep(0.01)
            assert time.monotonic() - silent_at < 1.0 + 1.0 + 1.0, "a lease, its watch, and a block that ends at once"
            async with service(project, database_url, lease=1.0, log=tmp_path / "2.log"):
                assert await ended(database_url, [run]) == ["completed"]
            between.speak()
            assert await watcher.fetchval("SELECT attempt FROM headrace.block_run") == 2
            assert await faults(watcher) == []
        finally:
            await cut_off.kill()


async def test_fault_17_a_starved_event_loop_keeps_its_lease_and_is_told_of(tmp_path, database_url, watcher, caplog):
    project = write_project(tmp_path / "project")
    write_pipeline(project, "slow", {"a": ()}, {"a": SLOW.replace("0.2", "2.5")})
    async with opened(project, database_url, lease=0.9, poll=0.05) as headrace:
        run = await headrace.create_run("slow")
        await until(watcher, "SELECT status = 'running' FROM headrace.block_run")
        async with service(project, database_url, lease=0.9, log=tmp_path / "2.log"):
            time.sleep(2.0)  # more than two leases in which nothing of the loop runs
            view = await headrace.finished(run)
        assert (view.status, view.blocks[0].attempt) == ("completed", 1)
        assert await watcher.fetchval("SELECT fence FROM headrace.run") == 1, "nobody took the run"
    assert "the event loop has stood still" in caplog.text


class SkewedClock(SystemClock):
    """A machine whose clock is wrong by `ahead` seconds, and may be set anew."""

    def __init__(self, ahead: float) -> None:
        self.ahead = ahead

    def now(self) -> float:
        return super().now() + self.ahead


@pytest.mark.parametrize("ahead", [90.0, -90.0])
async def test_fault_18_wrong_clocks_move_no_lease_no_retry_and_no_time_limit(tmp_path, database_url, watcher, ahead):
    project, gate, lease = write_project(tmp_path / "project"), tmp_path / "gate", 0.9
    source = "@custom\ndef body(**kwargs):\n    assert kwargs['retry']['attempts'] == 2\n"
    write_pipeline(project, "retried", {"a": ()}, {"a": source},
                   options={"timeout": 30, "retry_config": {"retries": 1, "delay": 4}})  # fmt: skip
    source = f"import os, time\n@custom\ndef body():\n    while not os.path.exists({str(gate)!r}): time.sleep(0.02)\n"
    write_pipeline(project, "slow", {"a": ()}, {"a": source}, options={"timeout": 60})
    clock = SkewedClock(ahead)
    environ = {**os.environ, "HEADRACE_DATABASE_URL": database_url}
    settings = EngineSettings(lease=lease, poll=0.05)
    async with open_headrace(
        project, environ=environ, claim_all=True, settings=settings, world=World(clock)
    ) as headrace:
        runs = [await headrace.create_run("retried"), await headrace.create_run("slow")]
        await until(watcher, "SELECT count(*) = 1 FROM headrace.attempt WHERE outcome = 'failed'")
        await until(
            watcher, "SELECT count(*) > 0 FROM headrace.block_run WHERE run_id = $1 AND status = 'running'", runs[1]
        )
        clock.ahead = -ahead * 40  # an hour the other way
        async with service(project, database_url, lease=lease, log=tmp_path / "2.log"), asyncio.timeout(30):
            retried = await headrace.finished(runs[0])
            await asyncio.sleep(2 * lease)  # in which the other service would take what it finds without a lease
            gate.touch()
            slow = await headrace.finished(runs[1])
        assert [view.status for view in (retried, slow)] == ["completed", "completed"]
        waited = retried.blocks[0].started_at - await watcher.fetchval(
            "SELECT finished_at FROM headrace.attempt WHERE number = 1 AND outcome = 'failed'"
        )
        assert 3.9 < waited.total_seconds() < 40, "seconds, not the hour by which the clock is wrong"
        assert await watcher.fetchval("SELECT max(fence) FROM headrace.run") == 1
        assert await faults(watcher) == []
