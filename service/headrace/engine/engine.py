"""The engine of one service: claims runs under its lease, drives each, renews the lease, hears of cancels."""

from __future__ import annotations

import asyncio
import logging
import os
import random
import socket
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID, uuid4

import anyio
from anyio.abc import TaskGroup

from headrace.domain.pipeline import Pipeline, pipeline_from_json
from headrace.domain.run import BlockState, Ending, RunState
from headrace.domain.statuses import BlockStatus, RunStatus
from headrace.engine.attempts import AttemptRunner
from headrace.engine.clock import Clock
from headrace.engine.driver import Parts, RunDriver, RunLost
from headrace.engine.log_writer import LogWriter
from headrace.engine.shelf import Shelf
from headrace.engine.workers import WorkerPool
from headrace.engine.writer import StepWriter
from headrace.store.database import Database
from headrace.store.errors import DATABASE_AWAY
from headrace.store.queries import QUERIES
from headrace.store.runs import ClaimedRun, claim_runs, register_service, release_runs, renew_lease

T = TypeVar("T")

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """How an engine behaves; times in seconds."""

    lease: float = 15.0
    """A service that was not heard of for so long has lost its runs."""
    poll: float = 1.0
    """How often the database is asked for runs and cancels even when no notification came."""
    most_runs: int = 200
    """Runs that one service drives at once."""


@dataclass
class Engine:
    """Drives the runs of one project. Everything it needs of the world is handed in.

    `only`, where given, tells the ids of the runs that it may claim; None for every run of the project.
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
    id: UUID = field(default_factory=uuid4)
    _drivers: dict[int, RunDriver] = field(default_factory=dict)
    _versions: dict[str, Pipeline] = field(default_factory=dict)
    _woken: asyncio.Event = field(default_factory=asyncio.Event)
    _ready: asyncio.Event = field(default_factory=asyncio.Event)
    _stopping: bool = False

    def __post_init__(self) -> None:
        self.writer = StepWriter(self.database, self.id, self.clock)
        self.logs = LogWriter(self.database, self.clock)
        self._parts = Parts(
            writer=self.writer,
            pool=self.pool,
            logs=self.logs,
            clock=self.clock,
            random=self.random,
            project=self.project,
            running_blocks=self._running_blocks,
            wake_pipeline=self._wake_pipeline,
            changed=self.changed,
        )

    def wake(self) -> None:
        """Look for runs and cancels now."""
        self._woken.set()

    async def ready(self) -> None:
        """Wait until the service has its lease."""
        await self._ready.wait()

    async def run(self) -> None:
        """Serve until cancelled; then stop workers, give runs back and leave."""
        async with anyio.create_task_group() as services:
            try:
                services.start_soon(self.writer.run)
                services.start_soon(self.logs.run)
                await self._patiently(self._register)
                self._ready.set()
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(self._keep_listening)
                    await self._keep_claiming(tasks)
            finally:
                with anyio.move_on_after(10, shield=True):
                    await self._leave()
                services.cancel_scope.cancel()

    async def _leave(self) -> None:
        """Give back what this service holds; without the database its lease runs out by itself."""
        await self.logs.flush()
        try:
            await release_runs(self.database, self.id)
        except DATABASE_AWAY as error:
            log.warning("the runs of this service could not be given back (%s): its lease runs out by itself", error)

    async def _register(self) -> None:
        await register_service(self.database, self.id, socket.gethostname(), os.getpid(), self.settings.lease)

    async def _patiently(self, work: Callable[[], Awaitable[T]]) -> T:
        pause = 0.1
        while True:
            try:
                return await work()
            except DATABASE_AWAY as error:
                log.warning("the database is away (%s); trying again", error)
                await self.clock.sleep(pause)
                pause = min(pause * 2, 2.0)

    async def _keep_claiming(self, tasks: TaskGroup) -> None:
        renewed = -self.settings.lease
        while True:
            self._woken.clear()
            try:
                if self.clock.monotonic() - renewed >= self.settings.lease / 3 or self._drivers:
                    await self._renew()
                    renewed = self.clock.monotonic()
                await self._claim(tasks)
            except DATABASE_AWAY as error:
                log.warning("the database is away (%s); trying again", error)
            with anyio.move_on_after(self.settings.poll):
                await self._woken.wait()

    async def _renew(self) -> None:
        held = {run.id: run for run in await renew_lease(self.database, self.id, self.settings.lease)}
        for run, driver in list(self._drivers.items()):
            if run in held and held[run].fence == driver.run.fence and held[run].cancel_requested:
                driver.cancel()

    async def _claim(self, tasks: TaskGroup) -> None:
        room = self.settings.most_runs - len(self._drivers)
        if room <= 0 or self.only == set():
            return
        only = None if self.only is None else sorted(self.only)
        for run in await claim_runs(self.database, self.id, self.project_id, limit=room, only=only):
            tasks.start_soon(self._drive, run)

    async def _drive(self, run: ClaimedRun) -> None:
        driver = await self._patiently(lambda: self._driver(run))
        self._drivers[run.id] = driver
        if run.cancel_requested:
            driver.cancel()
        try:
            await driver.drive()
        except* RunLost:
            log.warning("run %s was taken over by another service; this one has stopped its blocks", run.id)
        finally:
            if self._drivers.get(run.id) is driver:
                del self._drivers[run.id]
            if self.only is not None:
                self.only.discard(run.id)
            self.changed(run.id, False)

    async def _driver(self, run: ClaimedRun) -> RunDriver:
        pipeline = await self._pipeline(run.version)
        state, errors = await self._recorded_state(run, pipeline)
        shelf = Shelf(self.database, run.id, self.work_folder / f"run-{run.id}-{run.fence}")
        attempts = AttemptRunner(run, pipeline, self.project, shelf, self.logs, self.clock)
        return RunDriver(run, state, self._parts, attempts, dict(errors))

    async def _pipeline(self, version: str) -> Pipeline:
        if version not in self._versions:
            definition = await self.database.fetchval(QUERIES["pipeline_version"], version)
            if len(self._versions) > 500:
                self._versions.clear()
            self._versions[version] = pipeline_from_json(definition)
        return self._versions[version]

    async def _recorded_state(self, run: ClaimedRun, pipeline: Pipeline) -> tuple[RunState, Mapping[str, Any]]:
        rows = await self.database.fetch(QUERIES["block_states"], run.id)
        blocks = {row["block"]: _block_state(row) for row in rows}
        ending = Ending(run.ending) if run.ending else None
        errors = {row["block"]: row["error"] for row in rows if row["error"] is not None}
        return RunState(pipeline, RunStatus(run.status), ending, blocks), errors

    def _running_blocks(self, pipeline: str) -> int:
        return sum(driver.running for driver in self._drivers.values() if driver.pipeline.uuid == pipeline)

    def _wake_pipeline(self, pipeline: str) -> None:
        for driver in self._drivers.values():
            if driver.pipeline.uuid == pipeline:
                driver.wake()

    async def _keep_listening(self) -> None:
        """Hear of new work at once. Only a help: whatever is missed here, the next poll finds."""
        while True:
            try:
                await self._listen()
            except DATABASE_AWAY as error:
                log.warning("notifications are not heard (%s); polling goes on", error)
            await self.clock.sleep(self.settings.poll)

    async def _listen(self) -> None:
        gone = asyncio.Event()

        def heard(*_: object) -> None:
            self.wake()

        async with self.database.pool.acquire() as connection:
            connection.add_termination_listener(lambda *_: gone.set())
            await connection.add_listener("headrace_wake", heard)
            try:
                await gone.wait()
            finally:
                if not connection.is_closed():
                    with anyio.move_on_after(1, shield=True):
                        await connection.remove_listener("headrace_wake", heard)


def _block_state(row: Mapping[str, Any]) -> BlockState:
    due = row["due"]
    return BlockState(
        BlockStatus(row["status"]),
        row["attempt"],
        row["failures"],
        None if due is None else due.timestamp(),
        row["waiting"],
        row["callbacks_due"],
    )
