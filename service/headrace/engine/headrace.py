"""One project opened: its runs as their users see them, and the engine that drives them, where this process does."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import uuid4

import anyio

from headrace.domain.errors import HeadraceError
from headrace.domain.pipeline import Pipeline
from headrace.domain.statuses import RunStatus
from headrace.engine.creating import RunCreation
from headrace.engine.news import RunNews
from headrace.engine.observing import Observer
from headrace.engine.reading import known_block, lines_after, output_parts, run_end, run_row, summaries, view_run
from headrace.engine.tables import written_tables
from headrace.engine.views import LogLineView, OutputView, RunEnd, RunSummary, RunView, TableView, TestReport
from headrace.engine.waiting import why
from headrace.project.following import FollowedProject
from headrace.project.reading import Project
from headrace.store.database import Database
from headrace.store.errors import DATABASE_AWAY
from headrace.store.queries import QUERIES

if TYPE_CHECKING:  # an engine is only loaded by those who drive
    from headrace.engine.engine import Engine
    from headrace.engine.workers import WorkerPool

LOOK_SECONDS = 0.25
"""How often a run is looked at that another service may be driving."""

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

    followed: FollowedProject
    project_id: int
    database: Database
    engine: Engine | None = None
    pool: WorkerPool | None = None
    on_end: Callable[[int], None] = lambda run: None
    """Called when a run has ended that is driven here."""
    observer: Observer = field(default_factory=Observer)
    news: RunNews = field(default_factory=RunNews)
    ends: RunNews = field(default_factory=RunNews)
    """Tells of a run's end alone: whoever waits for that must not cost each of its steps a look."""
    asked_for: set[int] = field(default_factory=set)
    """Runs that this process was asked to drive before it had an engine; one that starts takes them up."""
    project: Project = field(init=False)
    """As it was when it was opened."""

    def __post_init__(self) -> None:
        self.project = self.followed.project()

    def _creation(self, key: str | None) -> RunCreation:
        return RunCreation(self.database, self.project_id, self.project.environ, key or uuid4().hex)

    def pipeline(self, uuid: str) -> Pipeline:
        """A pipeline as its files are now. Raises what is wrong with it, fault by fault."""
        return self.followed.pipeline(uuid)

    async def create_run(
        self,
        pipeline: str,
        *,
        variables: Mapping[str, Any] | None = None,
        block: str | None = None,
        with_upstream: bool = False,
        key: str | None = None,
    ) -> int:
        """Record a run of a pipeline, or of one of its blocks, and give its id; it starts at once where we drive.

        Two calls of one `key` make one run. What the database raises while it is away comes after several tries.
        """
        pinned, given, creation = self.pipeline(pipeline), dict(variables or {}), self._creation(key)
        if block is None:
            made = partial(creation.fresh, pinned, given)
        else:
            made = partial(creation.partial, pinned, block, given, with_upstream=with_upstream)
        return await self._made(made)

    async def retry(
        self, run: int, *, from_block: str | None = None, latest: bool = False, key: str | None = None
    ) -> int:
        """A new run that keeps what run `run` completed; of the same pinned pipeline, or of its `latest` files.

        `key` as for `create_run`.
        """
        row = await self._own(run)
        newest = self.pipeline(row["pipeline"]) if latest else None
        return await self._made(partial(self._creation(key).retry, run, newest, from_block=from_block))

    async def _made(self, create: Callable[[], Awaitable[int]]) -> int:
        """Make a run: where a commit's answer was lost, the second try finds what the first one made."""
        run = await (self._patiently(create) if self.engine is None else self.database.retrying(create))
        await self._drive(run)
        return run

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
        if self.engine is None:
            self.asked_for.add(run)
        elif self.engine.only is not None:
            self.engine.only.add(run)
        await self.database.waker.wake()

    async def is_driven(self, run: int) -> bool:
        """Whether a live service holds the run now. Raises UnknownRun."""
        return bool((await self._patiently(run_row, self.database, run))["driven"])

    async def finished(self, run: int) -> RunView:
        """Wait until a run has ended, whoever drives it. Raises UnknownRun."""
        await self.ended(run)
        return await self._patiently(view_run, self.database, run)

    async def ended(self, run: int) -> RunEnd:
        """Wait until a run has ended, whoever drives it, and tell how. Raises UnknownRun."""
        with self.ends.watching(run) as end:
            while True:
                end.clear()
                if (found := await self._patiently(run_end, self.database, run)) is not None:
                    return found
                with anyio.move_on_after(LOOK_SECONDS):
                    await end.wait()

    async def changes(self, run: int) -> AsyncIterator[RunView]:
        """A view of the run now and at each change; the last one is terminal."""
        seen: RunView | None = None
        with self.news.watching(run) as news:
            while True:
                news.clear()
                view = await self._patiently(view_run, self.database, run)
                if view != seen:
                    yield view
                    seen = view
                if view.finished_at is not None:
                    return
                await anyio.sleep(VIEW_SECONDS)
                with anyio.move_on_after(LOOK_SECONDS):
                    await news.wait()

    def note_change(self, run: int, ended: bool) -> None:
        """Called by the engine after each recorded step."""
        self.news.tell(run)
        if ended:
            self.ends.tell(run)
            self.on_end(run)

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
            if row["finished_at"] is not None or not follow:
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
        from headrace.engine.testing import run_tests

        return await run_tests(
            self.database,
            self.pool,
            self.pipeline(pipeline),
            self.project.root,
            self.project_id,
            self.engine.work_folder,
        )
