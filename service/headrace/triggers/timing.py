"""When the runs of slots start: at the slot, spread after it, or before it by as long as runs take."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from headrace.domain.expressions import WORD_CRON, word_of
from headrace.domain.schedules import spread
from headrace.triggers.local_time import Slot
from headrace.triggers.patterns import ONCE, landing_offset
from headrace.triggers.slots import Slots


@dataclass(frozen=True, slots=True)
class TimedSlot:
    """A slot between its neighbours, which may lie beyond the schedule's start and end."""

    slot: Slot
    previous: datetime | None
    following: datetime | None

    @property
    def interval(self) -> dict[str, Any]:
        """Mage's variables of the interval that begins with the slot."""
        at, end = self.slot.at, self.following
        if self.slot.key == ONCE:
            return interval_variables(at, None, None)
        return interval_variables(at, end, self.previous)


def interval_variables(start: datetime, end: datetime | None, previous: datetime | None) -> dict[str, Any]:
    """Mage's variables of an interval; None for what it does not have."""
    seconds = None if end is None else (end - start).total_seconds()
    return {
        "interval_start_datetime": start,
        "interval_end_datetime": end,
        "interval_seconds": int(seconds) if seconds is not None and seconds.is_integer() else seconds,
        "interval_start_datetime_previous": previous,
    }


class Timing:
    """When the runs of one schedule's slots start. Their order is that of the slots.

    `source` spreads schedules apart; `lead` is how long before its slot a run starts that is to be done by then, None
    while no run has shown how long it takes: then it starts with the slot's period.
    """

    def __init__(self, slots: Slots, source: str, lead: timedelta | None = None) -> None:
        self.slots, self.source, self.lead = slots, source, lead
        self.schedule = slots.schedule
        self._whole_lead = self._start_of_period()

    def _start_of_period(self) -> timedelta:
        word = word_of(self.schedule.expressions[0])
        if not self.schedule.landing_time or word not in WORD_CRON:
            return timedelta(0)
        return landing_offset(word, self.schedule, self.slots.clock)

    def after(self, moment: datetime) -> Iterator[TimedSlot]:
        """The slots after a moment, in order, each between its neighbours."""
        coming = self.slots.after(moment)
        slot = next(coming, None)
        previous = None if slot is None else self.slots.before(slot.at)
        while slot is not None:
            following = next(coming, None)
            yield TimedSlot(slot, previous, self.slots.behind(slot.at) if following is None else following.at)
            previous, slot = slot.at, following

    def between_neighbours(self, slot: Slot) -> TimedSlot:
        """A slot between its neighbours."""
        return TimedSlot(slot, self.slots.before(slot.at), self.slots.behind(slot.at))

    def starts_at(self, timed: TimedSlot) -> datetime:
        """When a slot's run starts; never before the slot before it, nor after the one behind it."""
        at = timed.slot.at
        if self.schedule.landing_time:
            lead = self._whole_lead if self.lead is None else self.lead
            return at - (lead if timed.previous is None else min(lead, at - timed.previous))
        if not self.schedule.jitter:
            return at
        most = self.schedule.jitter
        if timed.following is not None:
            most = min(most, (timed.following - at).total_seconds())
        return at + timedelta(seconds=spread(self.source, timed.slot.key, most))

    def last_started(self, now: datetime) -> Slot | None:
        """The last slot, up to now, whose run was to start by now."""
        slot = self.slots.latest(now)
        if slot is None or self.starts_at(self.between_neighbours(slot)) <= now:
            return slot
        return self.slots.latest(slot.at - timedelta(microseconds=1))


def landing_lead(runtimes: Sequence[float]) -> timedelta | None:
    """How long before its landing time a run starts, from how long the last ones took: as in Mage, the mean and half
    of the standard deviation, each in whole seconds upwards."""
    if not runtimes:
        return None
    deviation = math.ceil(statistics.stdev(runtimes) / 2) if len(runtimes) > 1 else 0
    return timedelta(seconds=math.ceil(statistics.fmean(runtimes)) + deviation)
