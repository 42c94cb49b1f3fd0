"""Finds the slots of a schedule that have no good run, and fills them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import takewhile
from typing import Any

from headrace.domain.backfills import Order, PlannedInterval, Reprocess, Standing, plan_intervals
from headrace.domain.intervals import MOST_INTERVALS, BadInterval, Interval
from headrace.domain.schedules import Schedule
from headrace.domain.triggers import Trigger
from headrace.store.backfills import NewBackfill, create_backfill, interval_standings, lock_planning
from headrace.store.database import Database
from headrace.store.schedules import progress_of_trigger
from headrace.triggers.backfilling import PRIORITY
from headrace.triggers.catching_up import counts_since
from headrace.triggers.slots import MICROSECOND, Slots
from headrace.triggers.timing import Timing

LOOK_BACK = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class SlotGap:
    """A slot whose interval is over and that has no good run; `reason` tells what became of the run that it has."""

    start: datetime
    end: datetime
    reason: str


@dataclass(frozen=True, slots=True)
class FilledGaps:
    """Gaps that were found, and the backfill that fills them; None where there were none."""

    gaps: tuple[SlotGap, ...]
    backfill: int | None


@dataclass(frozen=True)
class GapSearch:
    """Looks for gaps in what a trigger's schedule should have run for a project."""

    database: Database
    project_id: int
    trigger: Trigger
    schedule: Schedule
    kept: float | None = None
    """Seconds for which ended runs are kept: nothing is known of slots before. None for ever."""

    async def usual_start(self, now: datetime) -> datetime:
        """Where to begin looking if nobody says: 30 days back, or when the schedule's slots began to count.

        No earlier than runs are kept.
        """
        progress = await progress_of_trigger(self.database, self.project_id, self.trigger.pipeline, self.trigger.name)
        back = self._known_since(now - LOOK_BACK, now)
        return back if progress is None else max(back, counts_since(self.schedule, progress) - MICROSECOND)

    def _known_since(self, since: datetime, now: datetime) -> datetime:
        return since if self.kept is None else max(since, now - timedelta(seconds=self.kept))

    async def find(self, since: datetime, until: datetime, *, most: int = MOST_INTERVALS) -> list[SlotGap]:
        """The slots after `since` whose interval was over at `until` and that have no good run, the oldest first.

        Slots whose run has not ended, or is about to be made by a backfill, are no gaps; nor are those whose run may
        have been removed for its age. Raises BadInterval for more than `most` slots.
        """
        async with self.database.connection() as connection:
            found = await self._find_in(connection, since, until, most)
        return _told_gaps(found)

    async def fill(self, since: datetime, until: datetime, *, concurrency: int = 1) -> FilledGaps:
        """Find the gaps and make one backfill of them. Raises BadInterval for too many slots."""
        async with self.database.transaction() as connection:
            await lock_planning(connection, self.project_id)
            gaps = await self._find_in(connection, since, until, MOST_INTERVALS)
            if not gaps:
                return FilledGaps((), None)
            planned = [replace(gap, reason=None) for gap in gaps]
            number = await create_backfill(connection, self._backfill(planned, concurrency), planned)
        return FilledGaps(tuple(_told_gaps(gaps)), number)

    async def _find_in(self, connection: Any, since: datetime, until: datetime, most: int) -> list[PlannedInterval]:
        """The gaps as intervals of a backfill; `reason` tells what became of the run that a slot has."""
        try:
            expected = await asyncio.to_thread(self._expected, self._known_since(since, until), until, most)
        except OverflowError as error:
            raise BadInterval("The range goes beyond the years 1 to 9999.", remedy="Take a later start.") from error
        if not expected:
            return []
        standings = await interval_standings(
            connection, self.project_id, self.trigger.pipeline, expected[0].start, expected[-1].start
        )
        planned = plan_intervals(expected, standings, Reprocess.FAILED, Order.FORWARDS)
        return [replace(item, reason=_told(standings.get(item.interval.start))) for item in planned if item.wanted]

    def _backfill(self, gaps: Sequence[PlannedInterval], concurrency: int) -> NewBackfill:
        return NewBackfill(
            self.project_id,
            self.trigger.pipeline,
            f"gaps of {self.trigger.name}",
            gaps[0].interval.start,
            gaps[-1].interval.start,
            ", ".join(self.schedule.expressions),
            self.schedule.timezone,
            Reprocess.FAILED,
            Order.FORWARDS,
            {},
            concurrency,
            0.0,
            min(self.trigger.priority, PRIORITY),
            trigger_name=self.trigger.name,
            of_slots=True,
        )

    def _expected(self, since: datetime, until: datetime, most: int) -> list[Interval]:
        timing = Timing(Slots(self.schedule, self.schedule.enabled_at or since), self.trigger.source)
        found: list[Interval] = []
        for timed in takewhile(lambda timed: timed.slot.at <= until, timing.after(since)):
            if timed.following is None or timed.following > until:
                break
            if len(found) == most:
                raise BadInterval(f"There are more than {most} slots since then.", remedy="Take a later start.")
            found.append(Interval(timed.slot.at, timed.following, timed.previous))
        return found


def _told_gaps(found: Sequence[PlannedInterval]) -> list[SlotGap]:
    return [SlotGap(item.interval.start, item.interval.end, item.reason or "") for item in found]


def _told(standing: Standing | None) -> str:
    return "no run" if standing is None else f"its newest run is {standing.status}"
