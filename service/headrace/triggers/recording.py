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
from headrace.triggers.book import TriggerBook

MOST_ATTEMPTS = 5


@dataclass(frozen=True, slots=True)
class _Limit:
    trigger: int
    most: int
    at_limit: AtLimit


@dataclass(frozen=True)
class Recorder:
    """Commits planned events with their runs."""

    database: Database
    book: TriggerBook

    def is_limited(self, planned: PlannedEvent) -> bool:
        """Whether a limit must be looked at before the event's runs are made; queued runs wait for theirs elsewhere."""
        return any(self._limit(fate) is not None for fate in planned.fates)

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
        limits = {fate.trigger: limit for fate in planned.fates if (limit := self._limit(fate)) is not None}
        if not limits:
            return (await accept_events(connection, [planned]))[0]
        await lock_triggers(connection, [limit.trigger for limit in limits.values()])
        fates: list[PlannedFate] = []
        too_many: list[int] = []
        for fate in planned.fates:
            limit = limits.get(fate.trigger)
            active = [] if limit is None else await active_runs(connection, limit.trigger)
            if limit is None or len(active) < limit.most:
                fates.append(fate)
            elif limit.at_limit is AtLimit.SKIP:
                fates.append(_skipped(fate, active, limit.most))
            else:
                too_many += active[: len(active) - limit.most + 1]
                fates.append(fate)
        accepted = (await accept_events(connection, [replace(planned, fates=tuple(fates))]))[0]
        if too_many and accepted.is_new:
            await cancel_runs(connection, too_many)
        return accepted

    def _limit(self, fate: PlannedFate) -> _Limit | None:
        if fate.fate is not Fate.RUN or fate.trigger is None:
            return None
        known = self.book.by_id(fate.trigger)
        if known is None or known.trigger.max_active_runs is None or known.trigger.at_limit is AtLimit.QUEUE:
            return None
        return _Limit(fate.trigger, known.trigger.max_active_runs, known.trigger.at_limit)


def _skipped(fate: PlannedFate, active: Sequence[int], most: int) -> PlannedFate:
    listed = ", ".join(map(str, active[:5]))
    reason = f"{len(active)} of at most {most} runs of its trigger are active (run {listed})"
    return PlannedFate(fate.trigger, Fate.SKIPPED, reason)
