"""A schedule while a service follows it: what is due and not yet an event, and what comes next."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from headrace.domain.events import NewEvent
from headrace.domain.expressions import Word
from headrace.domain.schedules import CatchUp, Schedule
from headrace.store.schedules import Source
from headrace.triggers.book import KnownTrigger
from headrace.triggers.local_time import Slot
from headrace.triggers.timing import TimedSlot, Timing

SLOT = "slot"
"""The kind of a slot's event. The database takes note of the last one of each schedule."""
MOST_PENDING = 100
"""Slots of one schedule that wait in memory for their commit; those behind them wait in the schedule itself."""
CROWDED = timedelta(seconds=1)
"""How soon it is looked again where so many wait."""
OVERDUE = timedelta(seconds=1)
"""How long after its time a slot counts as overdue: until then it is only on its way."""


@dataclass(frozen=True, slots=True)
class ScheduleStanding:
    """How far a service is with one schedule, in seconds. `late` tells of the last slot that it accepted first of all.

    `overdue` counts slots that should be events and are none yet, up to a bound; `overdue_by` tells of the oldest.
    """

    next_at: datetime | None
    late: float | None
    overdue: int
    overdue_by: float


class Watch:
    """Follows one schedule. Its slots count from `since`."""

    def __init__(self, known: KnownTrigger, timing: Timing, since: datetime) -> None:
        self.known, self.timing, self.since = known, timing, since
        self.pending: deque[TimedSlot] = deque()
        self._coming: Iterator[TimedSlot] = iter(())
        self._next: TimedSlot | None = None
        self.late: float | None = None
        """By how many seconds the last slot that was accepted here first of all came too late."""

    @property
    def schedule(self) -> Schedule:
        return self.timing.schedule

    @property
    def source(self) -> Source:
        """The source of its slots."""
        return source_of(self.known)

    @property
    def is_crowded(self) -> bool:
        """Whether more may be due than is pending."""
        return len(self.pending) >= MOST_PENDING

    def begin(self, after: datetime, late: Iterable[TimedSlot] = ()) -> None:
        """Have some slots pending, and let those after a moment come when they are due."""
        self.pending.extend(late)
        self._coming = self.timing.after(after)
        self._next = next(self._coming, None)

    def take(self, now: datetime) -> datetime | None:
        """Have pending what is due by now, and tell when more will be; None for never."""
        while self._next is not None:
            due = self.timing.starts_at(self._next)
            if due > now:
                return due
            if self.is_crowded:
                return now + CROWDED
            self.pending.append(self._next)
            self._next = next(self._coming, None)
        return None

    def standing(self, now: datetime) -> ScheduleStanding:
        """How far it is at a moment."""
        coming = [self._next] if self._next is not None else []
        starts = [self.timing.starts_at(timed) for timed in (*self.pending, *coming)]
        overdue = [at for at in starts if at + OVERDUE <= now]
        by = (now - min(overdue)).total_seconds() if overdue else 0.0
        following = self._next.slot.at if self._next is not None else None
        return ScheduleStanding(following, self.late, len(overdue), by)

    def lateness(self, timed: TimedSlot, now: datetime) -> float:
        """How many seconds have passed since a slot's run was to start."""
        return max((now - self.timing.starts_at(timed)).total_seconds(), 0.0)

    def event(self, timed: TimedSlot) -> NewEvent:
        """A slot's event."""
        return slot_event(self.known, timed.slot, timed.interval)


def slot_event(known: KnownTrigger, slot: Slot, interval: Mapping[str, Any]) -> NewEvent:
    """The event of a scheduled trigger's slot, with the variables of its interval."""
    project, source = source_of(known)
    return NewEvent(project, source, SLOT, slot.key, occurred_at=slot.at, variables=interval, execution_date=slot.at)


class Watches:
    """The schedules that one service follows, by their triggers' ids; apart, those that are looked at every second."""

    def __init__(self) -> None:
        self.all: dict[int, Watch] = {}
        self.made_up: dict[int, Watch] = {}
        """Those whose missed slots are made up for."""
        self.always_on: dict[int, Watch] = {}

    def put(self, watch: Watch) -> None:
        """Follow a schedule, in the place of what its trigger had before."""
        number, schedule = watch.known.id, watch.schedule
        self.drop(number)
        self.all[number] = watch
        if schedule.catch_up is CatchUp.ALL:
            self.made_up[number] = watch
        if schedule.has(Word.ALWAYS_ON):
            self.always_on[number] = watch

    def drop(self, trigger: int) -> None:
        """Follow a trigger's schedule no more."""
        for watches in (self.all, self.made_up, self.always_on):
            watches.pop(trigger, None)


def source_of(known: KnownTrigger) -> Source:
    """The source of a scheduled trigger's slots."""
    return known.project.id, known.trigger.source
