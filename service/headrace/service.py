"""The composition root: builds the parts of Headrace for one project and joins them."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any, TypeVar

import anyio

from headrace.domain.errors import HeadraceError
from headrace.domain.pipeline import Pipeline
from headrace.domain.statuses import RUN_TERMINAL, RunStatus
from headrace.engine.clock import SystemClock
from headrace.engine.creating import RunCreation
from headrace.engine.engine import Engine, EngineSettings
from headrace.engine.news import RunNews
from headrace.engine.reading import (
    known_block,
    lines_after,
    output_parts,
    run_row,
    summaries,
    view_run,
)
from headrace.engine.tables import written_tables
from headrace.engine.testing import run_tests
from headrace.engine.views import LogLineView, OutputView, RunSummary, RunView, TableView, TestReport
from headrace.engine.waiting import why
from headrace.engine.work_folder import work_folder
from headrace.engine.worker_environment import worker_environ
from headrace.engine.workers import WorkerPool
from headrace.project.reading import Project, read_pipeline, read_project
from headrace.store.database import Database, open_database, project_database
from headrace.store.embedded import HOME_SETTING
from headrace.store.errors import DATABASE_AWAY
from headrace.store.queries import QUERIES
from headrace.store.runs import keep_project

LOOK_SECONDS = 0.25
"""How often a run is looked at that another service may be driving."""

ENGINE_CONNECTIONS = 6
"""Of the engine's own, beside those for its writer, its lease and its listener: whoever reads runs cannot starve it."""

VIEW_SECONDS = 0.05
"""Views of a run that changes all the time follow each other no closer than this."""

AWAY_SECONDS = 30.0
"""How long a command that only looks waits for a database that went away; one that drives runs waits on."""

T = TypeVar("T")


class OtherProject(HeadraceError):
    """A run of another project in the same database cannot be driven from here."""

    code = "other-project"


class AlreadyEnded(HeadraceError):
    """A run that has ended cannot be cancelled."""

    code = "already-ended"


@dataclass
class Headrace:
    """One project, its database, and (where it drives) the engine that runs its pipelines."""

    project: Project
    project_id: int
    database: Database
    engine: Engine | None = None
    pool: WorkerPool | None = None
    news: RunNews = field(default_factory=RunNews)
    _changed: dict[int, asyncio.Event] = field(default_factory=dict)
    _ended: dict[int, asyncio.Event] = field(default_factory=dict)

    @property
    def _creation(self) -> RunCreation:
        return RunCreation(self.database, self.project_id, self.project.environ)

    def pipeline(self, uuid: str) -> Pipeline:
        """A pipeline as its files are now. Raises what is wrong with it, fault by fault."""
        return read_pipeline(self.project, uuid)

    async def create_run(
        self,
        pipeline: str,
        *,
        variables: Mapping[str, Any] | None = None,
        block: str | None = None,
        with_upstream: bool = False,
    ) -> int:
        """Record a run of a pipeline, or of one of its blocks, and give its id; it starts at once where we drive."""
        pinned, given = self.pipeline(pipeline), dict(variables or {})
        if block is None:
            run = await self._creation.fresh(pinned, given)
        else:
            run = await self._creation.partial(pinned, block, given, with_upstream=with_upstream)
        await self._drive(run)
        return run

    async def retry(self, run: int, *, from_block: str | None = None, latest: bool = False) -> int:
        """A new run that keeps what run `run` completed; of the same pinned pipeline, or of its `latest` files."""
        row = await self._own(run)
        newest = self.pipeline(row["pipeline"]) if latest else None
        again = await self._creation.retry(run, newest, from_block=from_block)
        await self._drive(again)
        return again

    async def cancel(self, run: int) -> None:
        """Ask for a run's cancel. Where we drive, a run that no service drives, now or later, is ended here.

        Raises UnknownRun, OtherProject, and AlreadyEnded unless it was cancelled.
        """
        await self._patiently(self._own, run)
        row = await self._patiently(self.database.fetchrow, QUERIES["request_cancel"], run)
        if row["asked"]:
            await self._drive(run)
        elif row["status"] != RunStatus.CANCELLED:
            raise AlreadyEnded(f"Run {run} has ended already: it is {row['status']}.")

    async def _own(self, run: int) -> Mapping[str, Any]:
        row = await run_row(self.database, run)
        if row["project_id"] != self.project_id:
            raise OtherProject(
                f"Run {run} is of the project in {row['project_path']}.",
                remedy=f"Name that project: -p {row['project_path']}.",
            )
        return row

    async def resume(self) -> list[int]:
        """Take up every run of the project that has not ended; their ids."""
        rows = await self.database.fetch(QUERIES["unfinished_runs"], self.project_id)
        for row in rows:
            await self._drive(row["id"])
        return [row["id"] for row in rows]

    async def _drive(self, run: int) -> None:
        """Have a run driven: here, where we drive, and by any service that has room."""
        if self.engine is not None:
            if self.engine.only is not None:
                self.engine.only.add(run)
            self.engine.wake()
        await self.database.waker.wake()

    async def finished(self, run: int) -> RunView:
        """Wait until a run has ended, whoever drives it."""
        ended = self._ended.setdefault(run, asyncio.Event())
        try:
            while (await self._patiently(run_row, self.database, run))["status"] not in RUN_TERMINAL:
                with anyio.move_on_after(LOOK_SECONDS):
                    await ended.wait()
        finally:
            self._ended.pop(run, None)
        return await view_run(self.database, run)

    async def changes(self, run: int) -> AsyncIterator[RunView]:
        """A view of the run now and at each change; the last one is terminal."""
        changed = self._changed.setdefault(run, asyncio.Event())
        seen: RunView | None = None
        while True:
            changed.clear()
            view = await self._patiently(view_run, self.database, run)
            if view != seen:
                yield view
                seen = view
            if view.status in RUN_TERMINAL:
                self._changed.pop(run, None)
                return
            await anyio.sleep(VIEW_SECONDS)
            with anyio.move_on_after(LOOK_SECONDS):
                await changed.wait()

    def note_change(self, run: int, ended: bool) -> None:
        """Called by the engine after each recorded step."""
        self.news.tell(run)
        if event := self._changed.get(run):
            event.set()
        if ended and (event := self._ended.get(run)):
            event.set()

    async def show(self, run: int) -> RunView:
        """A run with its blocks."""
        return await view_run(self.database, run)

    async def why(self, run: int) -> list[str]:
        """A line for each thing that a run waits for now, and behind whom."""
        return await why(self.database, run)

    async def runs(
        self, *, limit: int = 20, before: int | None = None, pipeline: str | None = None, status: str | None = None
    ) -> list[RunSummary]:
        """A page of the project's runs, newest first."""
        return await summaries(
            self.database, [self.project_id], limit=limit, before=before, pipeline=pipeline, status=status
        )

    async def logs(self, run: int, block: str | None = None, *, follow: bool = False) -> AsyncIterator[LogLineView]:
        """A run's log lines in order; with `follow` until the run has ended."""
        if block is not None:
            await known_block(self.database, run, block)
        after = 0
        while True:
            row = await self._patiently(run_row, self.database, run)
            while page := await self._patiently(lines_after, self.database, run, block, after):
                for _, line in page:
                    yield line
                after = page[-1][0]
            if row["status"] in RUN_TERMINAL or not follow:
                return
            await anyio.sleep(LOOK_SECONDS)

    async def tables(self, run: int) -> list[TableView]:
        """The tables that a run's blocks wrote, as far as its log and its SQL blocks tell."""
        return await self._patiently(written_tables, self.database, run)

    async def output_parts(self, run: int, block: str, index: int = 0) -> tuple[OutputView, AsyncIterator[bytes]]:
        """An output's facts, and its bytes part by part."""
        return await output_parts(self.database, run, block, index)

    async def _patiently(self, look: Callable[..., Awaitable[T]], *given: Any) -> T:
        """Look at the database, again and again while it is away: the run goes on meanwhile, or comes back with it."""
        since = monotonic()
        while True:
            try:
                return await look(*given)
            except DATABASE_AWAY:
                if self.engine is None and monotonic() - since > AWAY_SECONDS:
                    raise
            await anyio.sleep(LOOK_SECONDS)

    async def test(self, pipeline: str) -> list[TestReport]:
        """Run each block's tests on its newest stored outputs."""
        if self.engine is None or self.pool is None:
            raise RuntimeError("tests run in workers: open Headrace with drive=True")
        return await run_tests(
            self.database,
            self.pool,
            self.pipeline(pipeline),
            self.project.root,
            self.project_id,
            self.engine.work_folder,
        )


@asynccontextmanager
async def open_headrace(
    project: Path,
    *,
    environ: Mapping[str, str] | None = None,
    drive: bool = True,
    claim_all: bool = False,
    settings: EngineSettings | None = None,
    spares: int = 2,
) -> AsyncIterator[Headrace]:
    """Open a project's Headrace; with `drive` it runs pipelines in this process until the context ends.

    A driving one claims only the runs that it was asked for, or (`claim_all`) every run of the project that waits.
    """
    given = os.environ if environ is None else environ
    root = _resolved(project)
    read = read_project(root, given)
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(open_database(root, given))
        project_id = await keep_project(database, str(root), read.name)
        headrace = Headrace(read, project_id, database)
        if drive:
            await _start_engine(stack, headrace, claim_all=claim_all, settings=settings, spares=spares)
        yield headrace


async def _start_engine(
    stack: AsyncExitStack, headrace: Headrace, *, claim_all: bool, settings: EngineSettings | None, spares: int
) -> None:
    database, project = headrace.database, headrace.project
    from headrace.samples import serve_samples  # brings aiohttp, which whoever only looks need not wait for

    extra = {"HEADRACE_SAMPLES_URL": await stack.enter_async_context(serve_samples())}
    if "POSTGRES_HOST" not in project.environ and database.address.kind == "embedded":
        extra |= await project_database(database, project.root)
    pool = await stack.enter_async_context(WorkerPool(environ=worker_environ(project.environ, extra), spares=spares))
    folder = stack.enter_context(work_folder(_work_base(database, project)))
    headrace.pool = pool
    headrace.engine = Engine(
        database=await stack.enter_async_context(database.beside(ENGINE_CONNECTIONS)),
        pool=pool,
        project=project.root,
        project_id=headrace.project_id,
        work_folder=folder,
        clock=SystemClock(),
        settings=settings or EngineSettings(),
        only=None if claim_all else set(),
        changed=headrace.note_change,
    )
    tasks = await stack.enter_async_context(anyio.create_task_group())
    stack.callback(tasks.cancel_scope.cancel)
    tasks.start_soon(headrace.engine.run)
    await headrace.engine.ready()


def _resolved(project: Path) -> Path:
    return project.resolve()


def _work_base(database: Database, project: Project) -> Path:
    folder = database.address.folder
    if folder is not None:
        return folder.parent / "work"
    return Path(project.environ.get(HOME_SETTING) or project.root / ".headrace") / "work"
