"""What each expression of a schedule tells: its slots after a moment, and its last one up to a moment.

A cron expression tells local times. Each is looked up in the zone by itself: one that the clocks skip comes by the
schedule's gap policy, one that they show twice by its fold policy. cronsim reads the expressions and walks local time
only, where neither exists.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import takewhile
from typing import Protocol

from cronsim import CronSim

from headrace.domain.expressions import WORD_CRON, Word, interval_of, word_of
from headrace.domain.schedules import Fold, Schedule
from headrace.project.cron import read_cron
from headrace.triggers.exclusions import Exclusions
from headrace.triggers.local_time import LocalTime, Mark, Slot

SECOND = timedelta(seconds=1)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
ONCE = "once"
"""The key of the one slot of `@once`."""
MOST_LEFT_OUT = 20_000
"""Stretches of exclusions in a row after which nothing more is looked for."""
HORIZON = timedelta(days=50 * 366)
"""Within so long a schedule must have a slot; cronsim looks no further either."""


class Pattern(Protocol):
    """What one expression tells."""

    def after(self, moment: datetime) -> Iterator[Slot]:
        """Its slots after a moment, in order, those that a policy leaves out among them."""
        ...

    def latest(self, until: datetime) -> Slot | None:
        """Its last slot up to a moment, itself included, that no policy leaves out."""
        ...


def pattern_of(
    expression: str, schedule: Schedule, clock: LocalTime, exclusions: Exclusions, once_at: datetime | None
) -> Pattern | None:
    """What an expression of a schedule tells; None for `@always_on`, which has no slots. Raises BadCron.

    `once_at` is when `@once` is due if the schedule has no start.
    """
    word, interval = word_of(expression), interval_of(expression)
    if word is Word.ALWAYS_ON:
        return None
    if word is Word.ONCE:
        return OncePattern(schedule.start or once_at, clock)
    if interval is not None:
        return IntervalPattern(interval, schedule.start or EPOCH, clock, exclusions)
    if word is None:
        return CronPattern(expression, clock, exclusions, schedule.fold)
    return CronPattern(WORD_CRON[word], clock, exclusions, schedule.fold, landing_offset(word, schedule, clock))


def landing_offset(word: Word, schedule: Schedule, clock: LocalTime) -> timedelta:
    """How far after its start a period's runs are to be done: nothing, except where landing time tells it."""
    if not schedule.landing_time or schedule.start is None:
        return timedelta(0)
    start = clock.wall(schedule.start)
    within_hour = timedelta(minutes=start.minute, seconds=start.second)
    if word is Word.HOURLY:
        return within_hour
    days = {Word.WEEKLY: start.weekday(), Word.MONTHLY: start.day - 1}.get(word, 0)
    return within_hour + timedelta(days=days, hours=start.hour)


@dataclass(frozen=True, slots=True)
class OncePattern:
    """One slot, which no exclusion leaves out."""

    at: datetime | None
    clock: LocalTime

    @property
    def slot(self) -> Slot | None:
        """Its slot; None where nobody said when it is."""
        return None if self.at is None else self.clock.slot_at(self.at, ONCE)

    def after(self, moment: datetime) -> Iterator[Slot]:
        if self.slot is not None and self.slot.at > moment:
            yield self.slot

    def latest(self, until: datetime) -> Slot | None:
        return self.slot if self.slot is not None and self.slot.at <= until else None


@dataclass(frozen=True, slots=True)
class IntervalPattern:
    """A slot every so long, whatever the clocks show."""

    every: timedelta
    anchor: datetime
    clock: LocalTime
    exclusions: Exclusions

    def after(self, moment: datetime) -> Iterator[Slot]:
        return self._from((moment - self.anchor) // self.every + 1, 1)

    def latest(self, until: datetime) -> Slot | None:
        return next(self._from((until - self.anchor) // self.every, -1), None)

    def _from(self, number: int, step: int) -> Iterator[Slot]:
        anchor, left_out = self.anchor.astimezone(UTC), 0
        while left_out < MOST_LEFT_OUT:
            slot = self.clock.slot_at(anchor + number * self.every)
            number += step
            if self.exclusions.stretch(slot.wall) is not None:
                left_out += 1
                continue
            left_out = 0
            yield slot


class CronPattern:
    """The local times of a cron expression, `landing` later than it tells them."""

    def __init__(
        self,
        text: str,
        clock: LocalTime,
        exclusions: Exclusions,
        fold: Fold | None = None,
        landing: timedelta = timedelta(0),
    ) -> None:
        comes_every_hour = len(read_cron(text).hours) == 24
        self.text, self.clock, self.exclusions, self.landing = text, clock, exclusions, landing
        self.fold = fold or (Fold.BOTH if comes_every_hour else Fold.FIRST)

    def after(self, moment: datetime) -> Iterator[Slot]:
        waiting: list[tuple[datetime, int, Slot]] = []
        number = 0
        for wall in self._walls(self.clock.earliest(moment)):
            slots = self.clock.slots(wall, self.fold)
            if not waiting and slots[0].mark is Mark.PLAIN:
                if slots[0].at > moment:
                    yield slots[0]
                continue
            for slot in slots:
                number += 1
                heapq.heappush(waiting, (slot.at, number, slot))
            yield from _released(waiting, self.clock.bound(wall), moment)
        yield from _released(waiting, None, moment)

    def latest(self, until: datetime) -> Slot | None:
        for wall in self._walls(self.clock.latest(until) + SECOND, reverse=True):
            near = takewhile(lambda slot: slot.at <= until, self.after(self.clock.bound(wall) - SECOND))
            due = [slot for slot in near if not slot.left_out]
            if due:
                return due[-1]
        return None

    def _walls(self, start: datetime, *, reverse: bool = False) -> Iterator[datetime]:
        """The local times after `start`, or before it, that no exclusion covers."""
        left_out, begun = 0, start
        while left_out < MOST_LEFT_OUT and abs(start - begun) < HORIZON:
            for told in CronSim(self.text, start - self.landing, reverse):
                wall = told + self.landing
                stretch = self.exclusions.stretch(wall)
                if stretch is not None:
                    start = stretch[0] if reverse else stretch[1] - SECOND
                    left_out += 1
                    break
                left_out, begun = 0, wall
                yield wall
            else:
                return


def _released(waiting: list[tuple[datetime, int, Slot]], bound: datetime | None, after: datetime) -> Iterator[Slot]:
    """The slots among those that wait which no later local time can come before."""
    while waiting and (bound is None or waiting[0][0] <= bound):
        slot = heapq.heappop(waiting)[2]
        if slot.at > after:
            yield slot
