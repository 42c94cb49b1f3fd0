"""The slots of a schedule: those of all its expressions, in order, each moment once."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from itertools import takewhile

from headrace.domain.schedules import Schedule
from headrace.triggers.exclusions import Exclusions
from headrace.triggers.local_time import LocalTime, Mark, Slot
from headrace.triggers.patterns import ONCE, SECOND, OncePattern, pattern_of

MICROSECOND = timedelta(microseconds=1)
_MARKS = tuple(Mark)


class Slots:
    """The slots of one schedule. `once_at` is when `@once` is due if the schedule has no start.

    Raises BadCron, and ZoneInfoNotFoundError or ValueError, for a schedule that its reader would have refused.
    """

    def __init__(self, schedule: Schedule, once_at: datetime | None = None) -> None:
        self.schedule = schedule
        self.clock = LocalTime(schedule.timezone, schedule.gap)
        exclusions = Exclusions(schedule.exclusions)
        patterns = (pattern_of(text, schedule, self.clock, exclusions, once_at) for text in schedule.expressions)
        self._patterns = [pattern for pattern in patterns if pattern is not None]

    @property
    def once(self) -> Slot | None:
        """The slot of `@once`."""
        return next((pattern.slot for pattern in self._patterns if isinstance(pattern, OncePattern)), None)

    def after(self, moment: datetime) -> Iterator[Slot]:
        """The slots after a moment, in order."""
        return (slot for slot in self.told(moment) if not slot.left_out)

    def told(self, moment: datetime) -> Iterator[Slot]:
        """The slots after a moment, and among them those that the gap and fold policies leave out."""
        start = self.schedule.start
        since = moment if start is None else max(moment, start - SECOND)
        slots = _merged([pattern.after(since) for pattern in self._patterns])
        return takewhile(self._not_after_end, (slot for slot in slots if start is None or slot.at >= start))

    def latest(self, until: datetime) -> Slot | None:
        """The last slot up to a moment, itself included."""
        start, end = self.schedule.start, self.schedule.end
        last = self._last(until if end is None else min(until, end))
        return None if last is None or (start is not None and last.at < start) else last

    def before(self, moment: datetime) -> datetime | None:
        """When the last slot before a moment is, were the schedule without start."""
        last = self._last(moment - MICROSECOND)
        return None if last is None else last.at

    def behind(self, moment: datetime) -> datetime | None:
        """When the first slot after a moment is, were the schedule without end."""
        slots = _merged([pattern.after(moment) for pattern in self._patterns])
        return next((slot.at for slot in slots if not slot.left_out), None)

    def _not_after_end(self, slot: Slot) -> bool:
        return self.schedule.end is None or slot.at <= self.schedule.end

    def _last(self, until: datetime) -> Slot | None:
        found = [slot for pattern in self._patterns if (slot := pattern.latest(until)) is not None]
        last = max((slot.at for slot in found), default=None)
        return min((slot for slot in found if slot.at == last), key=_preference, default=None)


def _merged(streams: Iterable[Iterator[Slot]]) -> Iterator[Slot]:
    """The slots of several patterns in order; of those at one moment, the preferred one."""
    held: Slot | None = None
    for slot in heapq.merge(*streams, key=lambda slot: slot.at):
        if held is not None and held.at == slot.at:
            held = min(held, slot, key=_preference)
            continue
        if held is not None:
            yield held
        held = slot
    if held is not None:
        yield held


def _preference(slot: Slot) -> tuple[bool, bool, int, str]:
    """Of two slots at one moment the lesser stands for both: one that is due, and whose local time needs no policy."""
    return slot.left_out, slot.key != ONCE, _MARKS.index(slot.mark), slot.key
