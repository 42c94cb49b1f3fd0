"""Records planned events, the limits of their triggers looked at under a lock where those leave events out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import asyncpg

from headrace.domain.events import Accepted, Fate
from headrace.domain.triggers import AtLimit
from headrace.store.database import Database
from headrace.store.events import (
    PlannedEvent,
    PlannedFate,
    accept_events,
    active_runs,
    cancel_runs,
    lock_triggers,
)

MOST_ATTEMPTS = 5


@dataclass(frozen=True)
class Recorder:
    """Commits planned events with their runs."""

    database: Database

    def is_limited(self, planned: PlannedEvent) -> bool:
        """Whether a limit must be looked at before the event's runs are made; queued runs wait for theirs elsewhere."""
        return any(fate.limit is not None for fate in planned.fates)

    async def record(self, planned: Sequence[PlannedEvent]) -> list[Accepted]:
        """Commit events, each of another key and dedup key; one with a limit comes alone. Safe to try again."""
        for _ in range(MOST_ATTEMPTS):
            try:
                return await self._record(planned)
            except asyncpg.UniqueViolationError:
                continue  # another service took the same dedup key just now: the statement sees it next time
        return await self._record(planned)

    async def _record(self, planned: Sequence[PlannedEvent]) -> list[Accepted]:
        async def work() -> list[Accepted]:
            if self.is_limited(planned[0]):
                async with self.database.transaction() as connection:
                    return [await self.record_in(connection, planned[0])]
            async with self.database.connection() as connection:
                return await accept_events(connection, planned)

        return await self.database.retrying(work, attempts=MOST_ATTEMPTS)

    async def record_in(self, connection: Any, planned: PlannedEvent) -> Accepted:
        """Record one event inside the caller's transaction."""
        limited = [fate.trigger for fate in planned.fates if fate.limit is not None and fate.trigger is not None]
        if not limited:
            return (await accept_events(connection, [planned]))[0]
        await lock_triggers(connection, limited)
        fates: list[PlannedFate] = []
        too_many: list[int] = []
        for fate in planned.fates:
            if fate.limit is None or fate.trigger is None:
                fates.append(fate)
                continue
            active = await active_runs(connection, fate.trigger)
            beyond = len(active) - fate.limit.most + 1
            if beyond > 0 and fate.limit.at_limit is AtLimit.SKIP:
                fates.append(_skipped(fate, active, fate.limit.most))
                continue
            fates.append(fate)
            too_many += active[: max(beyond, 0)]
        accepted = (await accept_events(connection, [replace(planned, fates=tuple(fates))]))[0]
        if too_many and accepted.is_new:
            await cancel_runs(connection, too_many)
        return accepted


def _skipped(fate: PlannedFate, active: Sequence[int], most: int) -> PlannedFate:
    listed = ", ".join(map(str, active[:5]))
    reason = f"{len(active)} of at most {most} runs of its trigger are active (run {listed})"
    return PlannedFate(fate.trigger, Fate.SKIPPED, reason)
