"""The way to the database: answers that are lost, connections that are ended, taken or silent, a server that is away."""

from __future__ import annotations

import asyncio
import os
import random
import statistics
import sys
import time
from functools import partial

import asyncpg
import pytest
from headrace.engine.engine import EngineSettings
from headrace.service import open_headrace
from headrace.store import database as database_module
from headrace.store.errors import DatabaseBusy, DatabaseUnavailable

from tests.chaos.checker import faults
from tests.chaos.histories import INSTANTS, assert_history_holds, branching_project
from tests.chaos.telling import tell
from tests.support.projects import write_pipeline, write_project
from tests.support.proxy import proxy

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(600)]


@pytest.fixture
async def watcher(database_url):
    """A connection beside those of the service."""
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()


def opened(project, database_url, **settings):
    environ = {**os.environ, "HEADRACE_DATABASE_URL": database_url}
    return open_headrace(project, environ=environ, settings=EngineSettings(**settings))


async def finished(headrace, run, seconds=60):
    async with asyncio.timeout(seconds):
        return await headrace.finished(run)


async def test_fault_07_steps_whose_answer_is_lost_after_the_commit_are_looked_up(tmp_path, database_url, watcher):
    """Every third step of a run is committed and its answer cut off: no block runs twice, no output is there twice."""
    project = branching_project(tmp_path)
    async with proxy(database_url) as between, opened(project, between.url, poll=0.05) as headrace:
        for lost in range(1, max(5, INSTANTS) + 1):
            between.lose_answers(b"recorded_step", times=1)
            view = await finished(headrace, await headrace.create_run("branching"))
            assert view.status == "completed"
            assert between.answers_lost == lost
        tell(f"answers to a COMMIT lost: {lost}, each looked up")
        assert await watcher.fetchval("SELECT max(attempt) FROM headrace.block_run") == 1
        assert await watcher.fetchval("SELECT max(fence) FROM headrace.run") == 1
    await assert_history_holds(database_url, tmp_path)


async def test_fault_07_a_claim_whose_answer_is_lost_is_made_good(tmp_path, database_url, watcher):
    project = branching_project(tmp_path)
    async with proxy(database_url) as between, opened(project, between.url, poll=0.05) as headrace:
        await finished(headrace, await headrace.create_run("branching"))
        between.lose_answers(b"fence = r.fence + 1", times=1)
        view = await finished(headrace, await headrace.create_run("branching"), seconds=10)
        assert view.status == "completed"
        assert between.answers_lost == 1
    await assert_history_holds(database_url, tmp_path)


async def test_fault_07_a_run_whose_making_was_not_answered_is_made_once(tmp_path, database_url, watcher):
    """Asked for by the command line, by the API, as a run of one block and as a retry: each time one run is there."""
    project = branching_project(tmp_path)
    lost = {"marker": b"run_request", "times": 1, "request": b"COMMIT"}
    async with proxy(database_url) as between:
        between.lose_answers(**lost)
        command = [sys.executable, "-m", "headrace", "run", str(project), "branching"]
        environ = {**os.environ, "HEADRACE_DATABASE_URL": between.url}
        process = await asyncio.create_subprocess_exec(*command, env=environ, stdout=asyncio.subprocess.DEVNULL)
        assert await asyncio.wait_for(process.wait(), 60) == 0
        async with opened(project, between.url, poll=0.05) as headrace:
            (whole,) = [row["id"] for row in await watcher.fetch("SELECT id FROM headrace.run")]
            for number, make in enumerate(
                (
                    lambda: headrace.create_run("branching"),
                    lambda: headrace.create_run("branching", block="b01"),
                    lambda: headrace.retry(whole),
                ),
                start=2,
            ):
                between.lose_answers(**lost)
                view = await finished(headrace, await make())
                assert view.status == "completed"
                assert between.answers_lost == number
                assert await watcher.fetchval("SELECT count(*) FROM headrace.run") == number
    await assert_history_holds(database_url, tmp_path)


async def test_fault_08_a_rain_of_ended_connections_costs_no_run_and_leaks_none(tmp_path, database_url, watcher):
    project = branching_project(tmp_path, pause=0.01, pad=10_000)
    end_one = (
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() "
        "AND pid <> pg_backend_pid() ORDER BY random() LIMIT 1"
    )
    async with opened(project, database_url, poll=0.05) as headrace:
        over = asyncio.Event()

        async def rain() -> None:
            chance = random.Random(8)
            while not over.is_set():
                await watcher.fetchval(end_one)
                await asyncio.sleep(chance.uniform(0.0, 0.1))

        asked = partial(headrace.database.retrying, attempts=50)  # how many it takes is a matter of the machine
        raining = asyncio.create_task(rain())
        for _ in range(3):
            run = await asked(lambda: headrace.create_run("branching"))
            while (view := await asked(lambda run=run: headrace.show(run))).finished_at is None:
                await asyncio.sleep(0.05)
            assert view.status == "completed", view.reason
        over.set()
        await raining
        for database in (headrace.database, headrace.engine.database):
            answers = await asyncio.gather(
                *(
                    database.retrying(lambda database=database: database.fetchval("SELECT 1 FROM pg_sleep(0.05)"))
                    for _ in range(20)
                )
            )
            assert answers == [1] * 20
        idle = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state LIKE 'idle in%'"
        assert await watcher.fetchval(idle) == 0
        await watcher.execute("DELETE FROM headrace.run WHERE started_at IS NULL AND status = 'initial'")
    assert await faults(watcher) == []


async def test_fault_09_runs_go_on_while_every_connection_of_the_pool_is_held(
    tmp_path, database_url, watcher, monkeypatch
):
    """Whoever reads runs waits a bounded time and is told; the engine has its own."""
    project = write_project(tmp_path / "project")
    source = "import time\n@custom\ndef body(*args):\n    time.sleep(2)\n    return 'x' * 200_000\n"
    write_pipeline(project, "p", {"a": (), "b": ("a",)}, {"a": source})
    monkeypatch.setattr(database_module, "ACQUIRE_SECONDS", 0.3)
    async with opened(project, database_url, lease=0.9, poll=0.05) as headrace:
        for _ in range(max(INSTANTS // 8, 1)):
            await assert_a_run_ends_without_the_pool(headrace, watcher)
        tell(f"pool exhausted {max(INSTANTS // 8, 1)} times: each time readers were told, and a run went on")
        assert await watcher.fetchval("SELECT max(attempt) FROM headrace.block_run") == 1


async def assert_a_run_ends_without_the_pool(headrace, watcher):
    run = await headrace.create_run("p")
    pool = headrace.database.pool
    held = [await pool.acquire() for _ in range(pool.get_max_size())]
    began = time.monotonic()
    with pytest.raises(DatabaseBusy):
        await headrace.show(run)
    assert time.monotonic() - began < 3
    async with asyncio.timeout(30):
        while await watcher.fetchval("SELECT status FROM headrace.run WHERE id = $1", run) != "completed":
            live = "SELECT count(*) FROM headrace.service WHERE lease_until > now()"
            assert await watcher.fetchval(live) == 1, "the lease is renewed all the time"
            await asyncio.sleep(0.05)
    for connection in held:
        await pool.release(connection)
    assert (await headrace.show(run)).status == "completed"


async def test_fault_11_a_deadlock_is_tried_again_and_shows_nowhere(database, watcher):
    await watcher.execute("CREATE TABLE pair (id int PRIMARY KEY, n int); INSERT INTO pair VALUES (1, 0), (2, 0)")
    await watcher.execute(
        "ALTER DATABASE " + await watcher.fetchval("SELECT current_database()") + " SET deadlock_timeout = '50ms'"
    )
    tries = []
    both_hold = asyncio.Barrier(2)

    async def work(first: int, second: int) -> None:
        tries.append(first)
        async with database.transaction() as connection:
            await connection.execute("SET LOCAL deadlock_timeout = '50ms'")
            await connection.execute("UPDATE pair SET n = n + 1 WHERE id = $1", first)
            if len(tries) <= 2:
                await both_hold.wait()
            await connection.execute("UPDATE pair SET n = n + 1 WHERE id = $1", second)

    async with asyncio.timeout(20):
        await asyncio.gather(database.retrying(lambda: work(1, 2)), database.retrying(lambda: work(2, 1)))
    assert len(tries) == 3, "one of the two was chosen as the deadlock's victim"
    assert [row["n"] for row in await watcher.fetch("SELECT n FROM pair")] == [2, 2]


async def test_fault_12_a_listener_that_hears_nothing_any_more_is_replaced_and_polling_finds_work_meanwhile(
    tmp_path, database_url, watcher
):
    project = branching_project(tmp_path)
    async with proxy(database_url) as between, opened(project, between.url, poll=0.2) as headrace:
        headrace.engine.listener.beat = 0.5
        await finished(headrace, await headrace.create_run("branching"))
        listening = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'LISTEN%'"
        pid = await watcher.fetchval(listening)
        between.cut()  # so that the listener begins anew, with its beat of half a second
        async with asyncio.timeout(20):
            while await watcher.fetchval(listening) in (None, pid):
                await asyncio.sleep(0.02)
        between.silence(who_said=b'LISTEN "headrace_wake"')
        silent = await watcher.fetchval(listening)
        engine, headrace.engine = headrace.engine, None
        run = await headrace.database.retrying(lambda: headrace.create_run("branching"))
        headrace.engine = engine
        engine.only.add(run)
        assert (await finished(headrace, run, seconds=10)).status == "completed"
        between.silence(who_said=b"never said")
        async with asyncio.timeout(20):
            while await watcher.fetchval(listening) in (None, silent):
                await asyncio.sleep(0.02)
        between.speak()
    await assert_history_holds(database_url, tmp_path)


@pytest.mark.alone
async def test_fault_12_what_a_deaf_listener_does_not_hear_is_found_by_the_next_poll(tmp_path, database_url, watcher):
    poll = 0.5
    project = write_project(tmp_path / "project")
    write_pipeline(project, "p", {"a": ()})
    chance = random.Random(12)
    environ = {**os.environ, "HEADRACE_DATABASE_URL": database_url}
    async with proxy(database_url) as between, open_headrace(project, environ=environ, drive=False) as elsewhere:
        between.silence(who_said=b'LISTEN "headrace_wake"')
        through = {**environ, "HEADRACE_DATABASE_URL": between.url}
        settings = EngineSettings(poll=poll)
        async with open_headrace(project, environ=through, claim_all=True, settings=settings) as deaf:
            await finished(deaf, await elsewhere.create_run("p"))
            for _ in range(max(INSTANTS, 5)):
                await asyncio.sleep(chance.uniform(0.0, poll))
                await finished(deaf, await elsewhere.create_run("p"))
    rows = await watcher.fetch("SELECT started_at - created_at AS waited FROM headrace.run ORDER BY id OFFSET 1")
    waited = sorted(row["waited"].total_seconds() for row in rows)
    at_99 = statistics.quantiles(waited, n=100, method="inclusive")[98]
    tell(
        f"{len(waited)} runs without a notification: started after {statistics.median(waited):.2f} s in the median, "
        f"{at_99:.2f} s in the 99th percentile, polled every {poll:g} s"
    )
    assert statistics.median(waited) > poll / 8, "nobody may have told"
    assert at_99 < poll + 0.5


async def test_fault_13_notifications_are_few_however_many_runs_are_made(database, watcher):
    heard = []
    await watcher.add_listener("headrace_wake", lambda *_: heard.append(time.monotonic()))
    began = time.monotonic()
    await asyncio.gather(*(database.waker.wake() for _ in range(200)))
    for _ in range(50):
        await database.waker.wake()
    await watcher.execute("SELECT 1")
    took = time.monotonic() - began
    assert 2 <= len(heard) <= took / 0.05 + 2
    assert await watcher.fetchval("SELECT pg_notification_queue_usage()") < 0.01


async def test_fault_47_without_a_database_the_fault_is_told_at_once(tmp_path):
    project = write_project(tmp_path / "project")
    began = time.monotonic()
    with pytest.raises(DatabaseUnavailable, match="cannot be reached"):
        async with opened(project, f"postgresql://x@/x?host={tmp_path}"):
            pass
    assert time.monotonic() - began < 10


async def test_fault_47_a_service_whose_database_goes_away_waits_and_goes_on_when_it_is_back(
    tmp_path, database_url, watcher
):
    project = branching_project(tmp_path)
    async with proxy(database_url) as between, opened(project, between.url, lease=1.0, poll=0.05) as headrace:
        between.silence()
        between.cut()
        await asyncio.sleep(2.0)
        assert not headrace.engine.lease.held.is_set()
        between.speak()
        between.cut()
        run = await headrace.database.retrying(lambda: headrace.create_run("branching"))
        assert (await finished(headrace, run)).status == "completed"
    assert await faults(watcher) == []
