"""The engine of a service: what one bad run costs, what it claims, and what it does without its lease."""

from __future__ import annotations

import asyncio
import os
from contextlib import asynccontextmanager, contextmanager
from uuid import uuid4

import pytest
from headrace.engine import engine as engine_module
from headrace.engine.engine import EngineSettings
from headrace.service import open_headrace
from headrace.store.runs import claim_runs

from tests.chaos.checker import faults
from tests.support.projects import write_pipeline, write_project

SLEEP = "import time\n@custom\ndef body(*args):\n    time.sleep(60)\n"


@pytest.fixture
def root(tmp_path):
    return write_project(tmp_path / "project")


@asynccontextmanager
async def opened(root, database_url, claim_all=False, **settings):
    environ = {**os.environ, "HEADRACE_DATABASE_URL": database_url}
    settings = EngineSettings(**settings)
    async with open_headrace(root, environ=environ, claim_all=claim_all, settings=settings) as headrace:
        yield headrace
        async with headrace.database.connection() as connection:
            assert await faults(connection) == []


@contextmanager
def undriven(headrace):
    """Runs that are created meanwhile are left alone by this service."""
    engine, headrace.engine = headrace.engine, None
    yield
    headrace.engine = engine


async def until(headrace, sql, *arguments):
    """Wait for a query to give a true value."""
    async with asyncio.timeout(20):
        while not (value := await headrace.database.fetchval(sql, *arguments)):
            await asyncio.sleep(0.01)
    return value


async def finished(headrace, number):
    async with asyncio.timeout(30):
        return await headrace.finished(number)


async def test_a_run_whose_record_cannot_be_read_fails_and_the_others_go_on(root, database_url):
    write_pipeline(root, "good", {"a": ()})
    write_pipeline(root, "bad", {"a": (), "b": ("a",)})
    async with opened(root, database_url) as headrace:
        with undriven(headrace):
            bad, good = await headrace.create_run("bad"), await headrace.create_run("good")
        await headrace.database.execute(
            "UPDATE headrace.pipeline_version SET definition = '{\"uuid\": 7}' WHERE pipeline = 'bad'"
        )
        assert set(await headrace.resume()) == {bad, good}
        assert (await finished(headrace, good)).status == "completed"
        await until(headrace, "SELECT status = 'failed' FROM headrace.run WHERE id = $1", bad)
        row = await headrace.database.fetchrow("SELECT * FROM headrace.run WHERE id = $1", bad)
        assert "could not drive this run" in row["reason"]
        assert row["owner"] is None
        rows = await headrace.database.fetch("SELECT status FROM headrace.block_run WHERE run_id = $1", bad)
        assert {row["status"] for row in rows} == {"cancelled"}
        assert (await finished(headrace, await headrace.create_run("good"))).status == "completed"
        await headrace.database.execute("DELETE FROM headrace.block_run WHERE run_id = $1", bad)
        await headrace.database.execute("DELETE FROM headrace.run WHERE id = $1", bad)


async def test_a_fault_of_ours_while_a_run_is_driven_fails_that_run_alone(root, database_url, monkeypatch):
    write_pipeline(root, "good", {"a": ()})
    write_pipeline(root, "hurt", {"a": (), "b": ()}, {"a": SLEEP})
    async with opened(root, database_url) as headrace:
        hurt = await headrace.create_run("hurt")
        await until(
            headrace, "SELECT status = 'completed' FROM headrace.block_run WHERE run_id = $1 AND block = 'b'", hurt
        )
        driver = headrace.engine._drivers[hurt]

        def broken(*_):
            raise RuntimeError("a fault of ours")

        driver._take_in = broken
        driver.wake()
        view = await finished(headrace, hurt)
        assert view.status == "failed"
        assert "RuntimeError: a fault of ours" in view.reason
        rows = await headrace.database.fetch("SELECT block, outcome FROM headrace.attempt WHERE run_id = $1", hurt)
        assert {(row["block"], row["outcome"]) for row in rows} == {("a", "lost"), ("b", "completed")}
        assert (await finished(headrace, await headrace.create_run("good"))).status == "completed"


async def test_a_retry_that_comes_due_while_the_failure_before_it_is_recorded_is_not_forgotten(root, database_url):
    source = "@custom\ndef body(**kwargs):\n    assert kwargs['retry']['attempts'] == 3\n"
    write_pipeline(root, "quick", {"a": ()}, {"a": source}, options={"retry_config": {"retries": 2, "delay": 0.02}})
    async with opened(root, database_url) as headrace:
        write = headrace.engine.writer.write

        async def slow(step):
            await asyncio.sleep(0.1)
            return await write(step)

        headrace.engine.writer.write = slow
        view = await finished(headrace, await headrace.create_run("quick"))
    assert (view.status, view.blocks[0].attempt) == ("completed", 3)


async def test_a_claim_whose_answer_was_lost_is_made_good_by_the_same_service(root, database_url, monkeypatch):
    write_pipeline(root, "one", {"a": ()})
    lost = []

    async def answer_lost(*arguments, **options):
        runs = await claim_runs(*arguments, **options)
        if runs and not lost:
            lost.extend(runs)
            raise ConnectionResetError("the answer never came")
        return runs

    monkeypatch.setattr(engine_module, "claim_runs", answer_lost)
    async with opened(root, database_url, lease=60, poll=0.05) as headrace:
        view = await finished(headrace, await headrace.create_run("one"))
        assert view.status == "completed"
        assert len(lost) == 1
        assert await headrace.database.fetchval("SELECT fence FROM headrace.run") == 2


async def test_a_service_whose_record_was_removed_makes_it_anew_and_is_not_robbed(root, database_url):
    write_pipeline(root, "one", {"a": ()})
    async with opened(root, database_url, lease=0.6, poll=0.05) as headrace:
        await headrace.database.execute("DELETE FROM headrace.service")
        view = await finished(headrace, await headrace.create_run("one"))
        assert view.status == "completed"
        live = "SELECT count(*) FROM headrace.service WHERE id = $1 AND lease_until > now()"
        assert await headrace.database.fetchval(live, headrace.engine.id) == 1


async def test_nothing_is_claimed_without_a_lease(root, database_url):
    write_pipeline(root, "one", {"a": ()})
    async with opened(root, database_url) as headrace:
        engine = headrace.engine
        with undriven(headrace):
            number = await headrace.create_run("one")
        assert await claim_runs(engine.database, uuid4(), engine.project_id, limit=1) == []
        assert [run.id for run in await claim_runs(engine.database, engine.id, engine.project_id, limit=1)] == [number]
        assert await claim_runs(engine.database, engine.id, engine.project_id, limit=1, driven=[number]) == []
        await engine.database.execute("DELETE FROM headrace.block_run")
        await engine.database.execute("DELETE FROM headrace.run")


async def test_a_service_that_cannot_renew_its_lease_stops_its_blocks_by_itself_and_takes_them_up_later(
    root, database_url, tmp_path, monkeypatch
):
    pids = tmp_path / "pids"
    source = (
        f"import os, time\n@custom\ndef body(*args):\n    open({str(pids)!r}, 'a').write(f'{{os.getpid()}}\\n')\n"
        f"    while open({str(pids)!r}).read().count('\\n') < 2: time.sleep(0.01)\n"
    )
    write_pipeline(root, "long", {"a": ()}, {"a": source})
    async with opened(root, database_url, lease=0.6, poll=0.05) as headrace:
        number = await headrace.create_run("long")
        await until(headrace, "SELECT status = 'running' FROM headrace.block_run WHERE run_id = $1", number)
        async with asyncio.timeout(10):
            while not pids.exists() or not pids.read_text():
                await asyncio.sleep(0.01)
        first = int(pids.read_text())

        async def away(*_):
            raise ConnectionRefusedError("the database is away")

        with monkeypatch.context() as patch:
            patch.setattr("headrace.engine.lease.renew_lease", away)
            async with asyncio.timeout(10):
                while os.path.exists(f"/proc/{first}"):
                    await asyncio.sleep(0.01)
        view = await finished(headrace, number)
        assert view.status == "completed"
        assert view.blocks[0].attempt == 2


async def test_a_level_that_postgres_cannot_store_costs_nothing_but_its_name(root, database_url):
    source = (
        "import logging\n@custom\ndef body(*args):\n    logging.addLevelName(35, 'A\\0B')\n"
        "    logging.getLogger().log(35, 'told')\n    print('\\0 and \\udc80'.encode('utf-8', 'replace'))\n"
    )
    write_pipeline(root, "odd", {"a": ()}, {"a": source})
    async with opened(root, database_url) as headrace:
        view = await finished(headrace, await headrace.create_run("odd"))
        assert view.status == "completed"
        lines = [line async for line in headrace.logs(view.id)]
    assert [line.level for line in lines if line.text == "told"] == ["A\ufffdB"]


async def test_runs_beyond_what_a_service_drives_at_once_start_as_soon_as_others_end(root, database_url):
    write_pipeline(root, "many", {"a": ()})
    async with opened(root, database_url, claim_all=True, most_runs=2, poll=3600.0) as headrace:
        async with headrace.engine.birth():
            runs = [await headrace.create_run("many") for _ in range(7)]
        assert {(await finished(headrace, run)).status for run in runs} == {"completed"}
