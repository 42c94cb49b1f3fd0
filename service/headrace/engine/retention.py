"""Keeps the database from growing without end: removes what a project wants kept no longer."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from headrace.domain.retention import ProjectRetention, Retention
from headrace.engine.clock import Clock
from headrace.store.database import Database
from headrace.store.errors import DATABASE_AWAY
from headrace.store.retention import (
    drop_log_days,
    drop_old_events,
    drop_old_lines,
    drop_old_outputs,
    drop_old_runs,
    drop_outputs_beyond,
    make_log_days,
)

log = logging.getLogger(__name__)

INTERVAL_SECONDS = 3600.0
DAYS_AHEAD = 7
BATCH_RUNS = 50
"""Runs whose rows one statement removes: it is over before anybody could notice."""
BATCH_EVENTS = 500
PAUSE_SECONDS = 0.02
"""Between two statements, so that others get their turn."""

Dropping = Callable[[Database, int, "str | None", Sequence[str], float, int], Awaitable[int]]


@dataclass
class Retainer:
    """Removes what is too old of one project, at its start and every `interval` seconds."""

    database: Database
    project_id: int
    retention: Callable[[], ProjectRetention]
    """What the project's files say now."""
    clock: Clock
    interval: float = INTERVAL_SECONDS

    async def run(self) -> None:
        """Serve until cancelled."""
        while True:
            try:
                await self.sweep()
            except DATABASE_AWAY as error:
                log.warning("nothing old was removed (%s)", error)
            await self.clock.sleep(self.interval)

    async def sweep(self) -> None:
        """Remove all that is too old now."""
        await make_log_days(self.database, DAYS_AHEAD)
        retention = self.retention()
        if retention.longest_logs is not None:
            await drop_log_days(self.database, retention.longest_logs)
        others = list(retention.pipelines)
        await self._sweep(None, others, retention.project)
        for pipeline, own in retention.pipelines.items():
            await self._sweep(pipeline, [], own)
            await self._keep_within(pipeline, own.output_bytes)
        await self._keep_within(None, retention.project.output_bytes)
        await self._sweep_events(retention)

    async def _sweep(self, pipeline: str | None, others: Sequence[str], retention: Retention) -> None:
        for drop, age in (
            (drop_old_runs, retention.runs),
            (drop_old_outputs, retention.outputs),
            (drop_old_lines, retention.logs),
        ):
            if age is not None:
                await self._drop(drop, pipeline, others, age)

    async def _drop(self, drop: Dropping, pipeline: str | None, others: Sequence[str], age: float) -> None:
        while await drop(self.database, self.project_id, pipeline, others, age, BATCH_RUNS):
            await self.clock.sleep(PAUSE_SECONDS)

    async def _keep_within(self, pipeline: str | None, bound: int | None) -> None:
        """Keep the outputs of a pipeline, or of all of them, within so many bytes."""
        if bound is not None:
            while await drop_outputs_beyond(self.database, self.project_id, pipeline, bound, BATCH_RUNS):
                await self.clock.sleep(PAUSE_SECONDS)

    async def _sweep_events(self, retention: ProjectRetention) -> None:
        own = {pipeline: kept.events for pipeline, kept in retention.pipelines.items()}
        age = retention.project.events
        if age is None and not any(own.values()):
            return
        place = await drop_old_events(self.database, self.project_id, age, own, None, BATCH_EVENTS)
        while place is not None:
            await self.clock.sleep(PAUSE_SECONDS)
            place = await drop_old_events(self.database, self.project_id, age, own, place, BATCH_EVENTS)
