"""Runs that an engine holds from the moment at which they are made: which these are, and what a lost answer does."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from headrace.engine import engine as engine_module
from headrace.engine.engine import EngineSettings
from headrace.service import open_headrace
from headrace.store.events import accept_events
from headrace.store.runs import claim_runs
from headrace.triggers import recording
from headrace.triggers.accepting import Acceptor

from tests.chaos.checker import faults
from tests.support.api import intake_of
from tests.support.projects import write_pipeline, write_project

GATED = {"concurrency_config": {"pipeline_run_limit_all_triggers": 1}}
UNTIL = "import pathlib, time\n@custom\ndef body(*args):\n    while not pathlib.Path({!r}).exists(): time.sleep(0.01)\n"


class Service:
    """An engine, what accepts events beside it, and the runs that the engine claimed after they were made."""

    def __init__(self, headrace, acceptor: Acceptor, claimed: list[int]) -> None:
        self.headrace, self.engine, self.acceptor, self.claimed = headrace, headrace.engine, acceptor, claimed

    async def start(self, pipeline: str, **options) -> int:
        return (
            await self.acceptor.start(self.headrace.project_id, pipeline, {"given": [1, {"a": None}]}, **options)
        ).runs[0]

    async def ended(self, run: int):
        async with asyncio.timeout(30):
            return await self.headrace.finished(run)

    async def looked(self) -> None:
        """Wait until the engine has taken all runs that there are, and looks no more by itself."""
        async with asyncio.timeout(30):
            while not self.engine.room_at_birth:
                await asyncio.sleep(0.01)

    async def column(self, name: str, run: int):
        return await self.headrace.database.fetchval(f"SELECT {name} FROM headrace.run WHERE id = $1", run)


@pytest.fixture
def root(tmp_path):
    root = write_project(tmp_path / "project")
    write_pipeline(root, "one", {"a": ()})
    return root


@asynccontextmanager
async def served(root, database_url, monkeypatch, **settings) -> AsyncIterator[Service]:
    claimed: list[int] = []

    async def noted(*arguments, **options):
        runs = await claim_runs(*arguments, **options)
        claimed.extend(run.id for run in runs)
        return runs

    monkeypatch.setattr(engine_module, "claim_runs", noted)
    environ = {**os.environ, "HEADRACE_DATABASE_URL": database_url}
    options = EngineSettings(**{"poll": 0.05, **settings})
    async with open_headrace(root, environ=environ, claim_all=True, settings=options) as headrace:
        async with intake_of(headrace) as intake:
            service = Service(headrace, intake.acceptor, claimed)
            await service.looked()
            yield service
        async with headrace.database.connection() as connection:
            assert await faults(connection) == []


async def test_a_new_run_is_held_from_the_beginning_and_starts_without_a_claim(root, database_url, monkeypatch):
    async with served(root, database_url, monkeypatch) as service:
        run = await service.start("one")
        assert (await service.ended(run)).status == "completed"
        assert service.claimed == []
        assert await service.column("fence", run) == 1
        assert await service.column("variables", run) == {"given": [1, {"a": None}]}


async def test_a_run_whose_commit_was_not_answered_is_claimed_and_made_only_once(root, database_url, monkeypatch):
    lost = []

    async def answer_lost(*arguments):
        found = await accept_events(*arguments)
        if not lost:
            lost.extend(run.id for _, run in found[1])
            raise ConnectionResetError("the answer never came")
        return found

    monkeypatch.setattr(recording, "accept_events", answer_lost)
    async with served(root, database_url, monkeypatch) as service:
        run = await service.start("one")
        assert lost == [run]
        assert (await service.ended(run)).status == "completed"
        assert await service.column("fence", run) == 2
        assert await service.headrace.database.fetchval("SELECT count(*) FROM headrace.run") == 1


async def test_runs_that_must_wait_for_their_turn_are_not_held_from_the_beginning(
    root, database_url, monkeypatch, tmp_path
):
    write_pipeline(root, "gated", {"a": ()}, options=GATED)
    write_pipeline(root, "long", {"a": ()}, {"a": UNTIL.format(str(tmp_path / "go"))})
    async with served(root, database_url, monkeypatch, most_runs=2) as service:
        gated, later = await service.start("gated"), await service.start("one", priority=-1)
        for run in (gated, later):
            assert (await service.ended(run)).status == "completed"
        await service.looked()
        assert set(service.claimed) == {gated, later}
        busy = [await service.start("long"), await service.start("long")]
        assert service.engine.room_at_birth == 0
        waiting = await service.start("one")
        assert await service.column("owner", waiting) is None
        (tmp_path / "go").touch()
        for run in (*busy, waiting):
            assert (await service.ended(run)).status == "completed"
        assert waiting in service.claimed


async def test_a_service_that_drains_holds_no_new_runs(root, database_url, monkeypatch):
    async with served(root, database_url, monkeypatch) as service:
        await service.engine.drain()
        run = await service.start("one")
        assert await service.column("owner", run) is None
        for table in ("event_fate", "block_run", "run"):
            await service.headrace.database.execute(f"DELETE FROM headrace.{table}")
