"""Finds the slots of a schedule that have no good run, and fills them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import takewhile

from headrace.domain.backfills import Order, PlannedInterval, Reprocess, plan_intervals
from headrace.domain.intervals import MOST_INTERVALS, BadInterval, Interval
from headrace.domain.schedules import Schedule
from headrace.domain.triggers import Trigger
from headrace.store.backfills import NewBackfill, create_backfill, newest_run_statuses
from headrace.store.database import Database
from headrace.triggers.backfilling import PRIORITY
from headrace.triggers.slots import Slots
from headrace.triggers.timing import Timing


@dataclass(frozen=True)
class GapSearch:
    """Looks for gaps in what a trigger's schedule should have run for a project."""

    database: Database
    project_id: int
    trigger: Trigger
    schedule: Schedule

    async def find(self, since: datetime, until: datetime) -> list[PlannedInterval]:
        """The slots after `since` whose interval was over at `until` and that have no good run, the oldest first.

        `reason` tells what became of the run that a slot has. Raises BadInterval for too many slots.
        """
        expected = self._expected(since, until)
        if not expected:
            return []
        async with self.database.connection() as connection:
            newest = await newest_run_statuses(
                connection, self.project_id, self.trigger.pipeline, expected[0].start, expected[-1].start
            )
        planned = plan_intervals(expected, newest, Reprocess.FAILED, Order.FORWARDS)
        return [replace(item, reason=_told(newest.get(item.interval.start))) for item in planned if item.wanted]

    async def fill(self, gaps: Sequence[PlannedInterval], *, concurrency: int = 1) -> int:
        """Make a backfill of gaps that were found; its id."""
        first, last = gaps[0].interval.start, gaps[-1].interval.start
        new = NewBackfill(
            self.project_id,
            self.trigger.pipeline,
            f"gaps of {self.trigger.name}",
            first,
            last,
            ", ".join(self.schedule.expressions),
            self.schedule.timezone,
            Reprocess.FAILED,
            Order.FORWARDS,
            self.trigger.variables,
            concurrency,
            0.0,
            self.trigger.priority or PRIORITY,
        )
        async with self.database.transaction() as connection:
            return await create_backfill(connection, new, [replace(gap, reason=None) for gap in gaps])

    def _expected(self, since: datetime, until: datetime) -> list[Interval]:
        timing = Timing(Slots(self.schedule, self.schedule.enabled_at or since), self.trigger.source)
        found: list[Interval] = []
        for timed in takewhile(lambda timed: timed.slot.at <= until, timing.after(since)):
            if timed.following is None or timed.following > until:
                break
            if len(found) == MOST_INTERVALS:
                raise BadInterval(
                    f"There are more than {MOST_INTERVALS} slots since then.", remedy="Take a later start."
                )
            found.append(Interval(timed.slot.at, timed.following))
        return found


def _told(status: str | None) -> str:
    return "no run" if status is None else f"its newest run is {status}"
