"""The engine of one service: claims runs under its lease, drives each, hears of cancels, clears up what kills leave."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID, uuid4

import anyio
from anyio.abc import TaskGroup

from headrace.domain.newer import NewerRecord, known
from headrace.domain.pipeline import Pipeline, pipeline_from_json
from headrace.domain.run import BlockState, Ending, RunState, fresh_run
from headrace.domain.statuses import BlockStatus, RunStatus
from headrace.engine.admitting import admit_runs
from headrace.engine.attempts import AttemptRunner
from headrace.engine.caps import CapFollower, ReadLimits
from headrace.engine.clock import Clock, DatabaseClock
from headrace.engine.driver import Parts, RunDriver, RunLost, UnderWay
from headrace.engine.lease import Lease
from headrace.engine.listener import Listener
from headrace.engine.log_writer import LogWriter
from headrace.engine.moves import clean
from headrace.engine.observing import Observer
from headrace.engine.shelf import Shelf
from headrace.engine.slots import SlotKeeper
from headrace.engine.sweeper import Sweeper
from headrace.engine.workers import WorkerPool
from headrace.engine.writer import StepWriter
from headrace.store.database import Database
from headrace.store.errors import DATABASE_AWAY, UNFIT_SCHEMA, SchemaTooNew
from headrace.store.queries import QUERIES
from headrace.store.runs import ClaimedRun, claim_runs, fail_run, give_back_run, release_runs, runs_driven
from headrace.store.slots import keep_pools

T = TypeVar("T")

log = logging.getLogger(__name__)

LEAVE_SECONDS = 10.0
"""How long a service that stops tries to give its runs back."""


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """How an engine behaves; times in seconds."""

    lease: float = 15.0
    """A service that was not heard of for so long has lost its runs."""
    poll: float = 1.0
    """How often the database is asked for runs and cancels even when no notification came."""
    gap: float = 0.005
    """How close one look for runs may follow another, however many notifications come."""
    most_runs: int = 200
    """Runs that one service drives at once."""
    sweep: float = 3600.0
    """How often what kills left behind is cleared away."""


@dataclass
class Engine:
    """Drives the runs of one project. Everything it needs of the world is handed in.

    `database` should be the engine's own (`Database.beside`). `only`, where given, tells the ids of the runs that it
    may claim; None for every run of the project.
    """

    database: Database
    pool: WorkerPool
    project: Path
    project_id: int
    work_folder: Path
    clock: Clock
    settings: EngineSettings = field(default_factory=EngineSettings)
    random: random.Random = field(default_factory=random.Random)
    only: set[int] | None = None
    changed: Callable[[int, bool], None] = lambda run, ended: None
    observer: Observer = field(default_factory=Observer)
    read_limits: ReadLimits | None = None
    """Tells what the files say now of the limits over a pipeline's runs."""
    id: UUID = field(default_factory=uuid4)
    _claimed: set[int] = field(default_factory=set)
    _left_alone: set[int] = field(default_factory=set)
    """Runs whose record only a newer version understands; it is not looked at them again."""
    _drivers: dict[int, RunDriver] = field(default_factory=dict)
    _versions: dict[str, Pipeline] = field(default_factory=dict)
    _woken: asyncio.Event = field(default_factory=asyncio.Event)
    _stirred: asyncio.Event = field(default_factory=asyncio.Event)
    _tasks: TaskGroup | None = None
    """In which runs are driven, while they are."""
    _claiming: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held around each claim until what was claimed is known here: one that overlapped would claim it anew."""
    _left_none: bool = False
    """Whether the last look for runs took all there were."""

    def __post_init__(self) -> None:
        clock = DatabaseClock(self.clock)
        self.lease = Lease(self.database, self.id, self.settings.lease, clock, self._lose_all)
        self.listener = Listener(self.database, clock, self.wake)
        self.sweeper = Sweeper(self.database, clock, self.settings.sweep)
        self.writer = StepWriter(self.database, self.id, clock)
        self.logs = LogWriter(self.database, clock)
        self.slots = SlotKeeper(self.database, self.project_id, clock)
        self.caps = CapFollower(self.database, self.project_id, self.read_limits, self.wake, clock, self.settings.poll)
        self._parts = Parts(
            writer=self.writer,
            pool=self.pool,
            logs=self.logs,
            clock=clock,
            random=self.random,
            project=self.project,
            slots=self.slots,
            changed=self._note_change,
            observer=self.observer,
        )

    async def drain(self) -> None:
        """Claim no run and start no block any more; returns once nothing is under way. What is left is given back
        when `run` is cancelled, and goes on in another service."""
        self._parts.draining.set()
        for driver in self._drivers.values():
            driver.wake()
        while not self._is_quiet():
            self._stirred.clear()
            await self._stirred.wait()

    def _is_quiet(self) -> bool:
        return self._claimed == self._drivers.keys() and all(driver.is_quiet for driver in self._drivers.values())

    def _note_change(self, run: int, ended: bool) -> None:
        self._stirred.set()
        self.changed(run, ended)

    def wake(self) -> None:
        """Look for runs, cancels and free slots now."""
        self._woken.set()
        self.slots.wake()

    async def ready(self) -> None:
        """Wait until the service has its lease."""
        await self.lease.held.wait()

    async def run(self) -> None:
        """Serve until cancelled; then stop workers, give runs back and leave."""
        async with anyio.create_task_group() as services:
            try:
                services.start_soon(self.writer.run)
                services.start_soon(self.logs.run)
                services.start_soon(self.slots.run)
                services.start_soon(self.lease.keep)
                await self.lease.held.wait()
                with self.database.waker.waking(self.wake):
                    async with anyio.create_task_group() as self._tasks:
                        self._tasks.start_soon(self.listener.run)
                        self._tasks.start_soon(self.sweeper.run)
                        self._tasks.start_soon(self.caps.run)
                        await self._keep_claiming()
            finally:
                self._tasks = None
                with anyio.move_on_after(LEAVE_SECONDS, shield=True):
                    await self._leave()
                services.cancel_scope.cancel()

    async def _leave(self) -> None:
        """Give back what this service holds; without the database its lease runs out by itself."""
        await self.logs.flush()
        await self.lease.stop()
        try:
            await release_runs(self.database, self.id)
            await self.database.waker.wake()
        except DATABASE_AWAY as error:
            log.warning("the runs of this service could not be given back (%s): its lease runs out by itself", error)

    async def _patiently(self, work: Callable[[], Awaitable[T]]) -> T:
        pause = 0.1
        while True:
            try:
                return await work()
            except DATABASE_AWAY as error:
                log.warning("the database is away (%s); trying again", error)
                await self.clock.sleep(pause)
                pause = min(pause * 2, 2.0)

    async def _keep_claiming(self) -> None:
        while True:
            await self.lease.held.wait()
            self._woken.clear()
            try:
                await self._look_after_driven()
                await self._claim()
            except DATABASE_AWAY as error:
                log.warning("the database is away (%s); trying again", error)
            except UNFIT_SCHEMA as error:
                raise await self._patiently(partial(self.database.as_schema_fault, error)) from error
            await self.clock.sleep(self.settings.gap)
            with anyio.move_on_after(self.settings.poll):
                await self._woken.wait()

    async def _look_after_driven(self) -> None:
        """Hear of cancels, and of runs that another service has taken."""
        if not self._drivers:
            return
        for row in await runs_driven(self.database, list(self._drivers)):
            driver = self._drivers.get(row.id)
            if driver is None:
                continue
            if row.fence > driver.run.fence:
                driver.lose()
            elif row.cancel_requested:
                driver.cancel()

    @property
    def room_at_birth(self) -> int:
        """How many new runs it can hold from the moment they are made: 0 while others may wait for their turn."""
        if self._tasks is None or self.only is not None or self._claiming.locked() or not self._may_claim:
            return 0
        if self._woken.is_set() or not self._left_none:
            return 0
        return min(self.settings.most_runs - len(self._claimed), self.pool.free)

    @asynccontextmanager
    async def birth(self) -> AsyncIterator[None]:
        """Claim nothing while runs are made that this engine holds from the beginning; those must be adopted within."""
        async with self._claiming:
            try:
                yield
            except BaseException:
                self.wake()  # whether they were made and are ours is only known to the database now
                raise

    def adopt(self, run: ClaimedRun) -> None:
        """Drive a run that was claimed as it was made. Without a group of tasks its next holder does."""
        if self._tasks is not None:
            self._claimed.add(run.id)
            self._tasks.start_soon(self._drive, run)

    @property
    def _may_claim(self) -> bool:
        return self.lease.held.is_set() and not self._parts.draining.is_set()

    async def _claim(self) -> None:
        async with self._claiming:
            if not await self._claim_some():
                return
        only = None if self.only is None else sorted(self.only)
        if await admit_runs(self.database, self.project_id, only):
            self.wake()

    async def _claim_some(self) -> bool:
        """Take what runs there is room for; False where none could be taken now."""
        room = self.settings.most_runs - len(self._claimed)
        self._left_none = False
        if room <= 0 or self.only == set() or not self._may_claim:
            return False
        only = None if self.only is None else sorted(self.only)
        driven = sorted(self._claimed | self._left_alone)
        runs = await claim_runs(self.database, self.id, self.project_id, limit=room, only=only, driven=driven)
        for run in runs:
            self.adopt(run)
        self._left_none = len(runs) < room
        return True

    def _lose_all(self) -> None:
        """Without a lease every run may be another service's by now: stop them all."""
        for driver in self._drivers.values():
            driver.lose()

    async def _drive(self, run: ClaimedRun) -> None:
        """Drive a run to its end. Whatever goes wrong in here, by our fault or its record's, ends this run alone."""
        try:
            await self._driven_to_its_end(run)
        except* RunLost:
            log.warning("run %s is not this service's any more; its blocks were stopped", run.id)
        except* NewerRecord as group:
            self._left_alone.add(run.id)
            log.warning("run %s is left alone: %s", run.id, first_of(group))
            await self._patiently(lambda: give_back_run(self.database, self.id, run))
            self.changed(run.id, False)
        except* Exception as group:  # a boundary: one run that cannot be driven must not end the others
            error = await self._patiently(partial(self.database.as_schema_fault, first_of(group)))
            if isinstance(error, SchemaTooNew):
                raise error from None  # it ends the engine, which gives its runs back as they are
            log.exception("run %s cannot be driven on", run.id)
            reason = _internal_reason(group)
            await self._patiently(lambda: fail_run(self.database, self.id, run, reason))
            self.changed(run.id, True)
        finally:
            self._claimed.discard(run.id)
            self._stirred.set()
            if not self._left_none:  # more runs wait than there was room for
                self._woken.set()

    async def _driven_to_its_end(self, run: ClaimedRun) -> None:
        driver = await self._patiently(lambda: self._driver(run))
        if not self.lease.held.is_set():
            raise RunLost
        self._drivers[run.id] = driver
        try:
            if run.cancel_requested:
                driver.cancel()
            await driver.drive()
        finally:
            del self._drivers[run.id]
            self.changed(run.id, False)
        if self.only is not None:
            self.only.discard(run.id)
        if run.gated:  # others may wait for its place
            await self.database.waker.wake()

    async def _driver(self, run: ClaimedRun) -> RunDriver:
        pipeline = await self._pipeline(run.version)
        if pipeline.limits.per_pipeline is not None:
            await keep_pools(self.database, self.project_id, {pipeline.own_pool: pipeline.limits.per_pipeline})
        rows = await self.database.fetch(QUERIES["block_states"], run.id) if run.step else ()
        shelf = Shelf(self.database, run.id, self.work_folder / f"run-{run.id}-{run.fence}")
        attempts = AttemptRunner(run, pipeline, self.project, shelf, self.logs, self._parts.clock)
        errors = {row["block"]: row["error"] for row in rows if row["error"] is not None}
        state = _recorded_state(run, pipeline, rows) if run.step else fresh_run(pipeline, frozenset(run.kept))
        under_way = {
            row["block"]: UnderWay(row["started_at"], row["worker_pid"])
            for row in rows
            if state.blocks[row["block"]].under_way
        }
        return RunDriver(run, state, self._parts, attempts, errors, under_way)

    async def _pipeline(self, version: str) -> Pipeline:
        if version not in self._versions:
            definition = await self.database.fetchval(QUERIES["pipeline_version"], version)
            if len(self._versions) > 500:
                self._versions.clear()
            self._versions[version] = pipeline_from_json(definition)
        return self._versions[version]


def _recorded_state(run: ClaimedRun, pipeline: Pipeline, rows: Sequence[Mapping[str, Any]]) -> RunState:
    blocks = {row["block"]: _block_state(run, row) for row in rows}
    status = known(RunStatus, run.status, f"the state of run {run.id}")
    ending = None if run.ending is None else known(Ending, run.ending, f"the end that run {run.id} is to come to")
    return RunState(pipeline, status, ending, blocks)


def _block_state(run: ClaimedRun, row: Mapping[str, Any]) -> BlockState:
    due = row["due"]
    return BlockState(
        known(BlockStatus, row["status"], f"the state of block {row['block']} in run {run.id}"),
        row["attempt"],
        row["failures"],
        None if due is None else due.timestamp(),
        row["waiting"],
        row["callbacks_due"],
    )


def first_of(group: BaseExceptionGroup[Any]) -> BaseException:
    """The first error within a group, to any depth."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _internal_reason(group: BaseExceptionGroup[Exception]) -> str:
    error = first_of(group)
    return clean(
        f"Headrace could not drive this run on ({type(error).__name__}: {error}); the service's log tells more"
    )
