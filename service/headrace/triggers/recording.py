"""Records planned events, the limits of their triggers looked at under a lock where those leave events out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import asyncpg

from headrace.domain.events import Accepted, Fate
from headrace.engine.births import Births
from headrace.store.database import Database
from headrace.store.events import (
    PlannedEvent,
    PlannedFate,
    accept_events,
    active_runs,
    cancel_runs,
    lock_triggers,
)
from headrace.triggers.limiting import skip_reason, too_many

MOST_ATTEMPTS = 5


@dataclass(frozen=True, slots=True)
class Recorded:
    """What became of events, in their order, and which of the runs that they made are driven already."""

    answers: list[Accepted]
    driven: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Recorder:
    """Commits planned events with their runs."""

    database: Database
    births: Births = field(default_factory=Births)

    async def record(self, planned: Sequence[PlannedEvent]) -> Recorded:
        """Commit events of which no two have a mark in common (see `marks_of`). Safe to try again."""
        for _ in range(MOST_ATTEMPTS):
            try:
                return await self._record(planned)
            except asyncpg.UniqueViolationError:
                continue  # another service took the same dedup key just now: the statement sees it next time
        return await self._record(planned)

    async def _record(self, planned: Sequence[PlannedEvent]) -> Recorded:
        async def work() -> Recorded:
            if _limited_triggers(planned):
                async with self.database.transaction() as connection:
                    return Recorded(await self.record_in(connection, planned))
            async with self.births.offered() as offer, self.database.connection() as connection:
                answers, claimed = await accept_events(connection, planned, offer.claimants)
                offer.take(claimed)
            return Recorded(answers, frozenset(run.id for _, run in claimed))

        return await self.database.retrying(work, attempts=MOST_ATTEMPTS)

    async def record_in(self, connection: Any, planned: Sequence[PlannedEvent]) -> list[Accepted]:
        """Record events, of which no two have a mark in common, inside the caller's transaction."""
        limited = _limited_triggers(planned)
        if not limited:
            return (await accept_events(connection, planned))[0]
        await lock_triggers(connection, limited)
        active = await active_runs(connection, limited)
        decided = [_decided(item, active) for item in planned]
        accepted, _ = await accept_events(connection, [item for item, _ in decided])
        pairs = zip(decided, accepted, strict=True)
        cancelled = [run for (_, runs), answer in pairs if answer.is_new for run in runs]
        if cancelled:
            await cancel_runs(connection, cancelled)
        return accepted


def marks_of(planned: PlannedEvent) -> set[object]:
    """What no two events of one statement may share: their key, a trigger's dedup key, a trigger that leaves out."""
    marks: set[object] = {planned.key}
    marks |= {(fate.trigger, fate.dedup_key) for fate in planned.fates if fate.dedup_key is not None}
    return marks | {("limit", trigger) for trigger in _limited_triggers([planned])}


def _limited_triggers(planned: Sequence[PlannedEvent]) -> list[int]:
    """Triggers with a limit that must be looked at before runs are made; queued runs wait for theirs elsewhere."""
    fates = (fate for item in planned for fate in item.fates if fate.limit is not None)
    return sorted({fate.trigger for fate in fates if fate.trigger is not None})


def _decided(planned: PlannedEvent, active: Mapping[int, list[int]]) -> tuple[PlannedEvent, list[int]]:
    """The event with what its triggers' limits make of it, and the runs that are to be cancelled for it."""
    fates: list[PlannedFate] = []
    cancelled: list[int] = []
    for fate in planned.fates:
        if fate.limit is None or fate.trigger is None:
            fates.append(fate)
            continue
        runs = active[fate.trigger]
        if (reason := skip_reason(fate.limit, runs)) is not None:
            fates.append(PlannedFate(fate.trigger, Fate.SKIPPED, reason))
            continue
        fates.append(fate)
        cancelled += too_many(fate.limit, runs)
    return replace(planned, fates=tuple(fates)), cancelled
