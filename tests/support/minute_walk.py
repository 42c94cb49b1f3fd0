"""An independent account of when cron expressions are due in a zone: every minute of seven years is looked at.

It shares nothing with the code it judges: no cronsim, no look-up of local times. For each minute of UTC it knows what the
clocks of the zone show; a local time that is never shown was skipped, one shown again was repeated.
"""

from __future__ import annotations

import calendar
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cache
from zoneinfo import ZoneInfo

import numpy as np

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
START, END = datetime(2024, 1, 1, tzinfo=UTC), datetime(2031, 1, 1, tzinfo=UTC)
DAY_MINUTES = 1440


def minutes(moment: datetime) -> int:
    """Minutes from 1970 to a moment."""
    return (moment - EPOCH) // timedelta(minutes=1)


def moment(minute: int) -> datetime:
    return EPOCH + timedelta(minutes=int(minute))


@dataclass(frozen=True)
class MinuteWalk:
    """What the clocks of a zone show in each minute of UTC. `changes` are the places at which the offset is new."""

    utc: np.ndarray
    local: np.ndarray
    offset: np.ndarray
    changes: tuple[int, ...]

    def due(
        self, expressions: tuple[str, ...], gap: str, fold: str, start: int | None = None, end: int | None = None
    ) -> list[int]:
        """The minutes of UTC, from `start` to before `end`, at which any of these expressions is due."""
        first = int(self.utc[0] if start is None else start)
        last = int(self.utc[-1] + 1 if end is None else end)
        found = [self._due(expression, gap, fold, first, last) for expression in expressions]
        due = np.unique(np.concatenate(found))
        return [int(minute) for minute in due[(due >= first) & (due < last)]]

    def _due(self, expression: str, gap: str, fold: str, start: int, end: int) -> np.ndarray:
        part = slice(max(start - int(self.utc[0]), 0), end - int(self.utc[0]))
        wanted = matches(expression, self.local[part])
        shifted = []
        for change in self.changes:
            at = change - part.start
            step = int(self.local[change] - self.local[change - 1])
            if step <= 0:
                repeated = 1 - step
                if fold == "first":
                    wanted[max(at, 0) : max(at + repeated, 0)] = False
                if fold == "second":
                    wanted[max(at - repeated, 0) : max(at, 0)] = False
            elif gap == "shift":
                skipped = np.arange(self.local[change - 1] + 1, self.local[change])
                shifted.append(skipped[matches(expression, skipped)] - self.offset[change - 1])
        return np.concatenate([self.utc[part][wanted], *shifted])


@cache
def all_minutes() -> np.ndarray:
    """The minutes of UTC that are walked; one array for all zones."""
    return np.arange(minutes(START), minutes(END), dtype=np.int32)


@cache
def walk(zone: str) -> MinuteWalk:
    """Walk a zone from 2024 to the end of 2030."""
    utc = all_minutes()
    offset = np.empty_like(utc)
    changes = []
    before = _offset(zone, utc[0])
    begun = 0
    for hour in range(60, len(utc) + 1, 60):
        last = hour - 1
        if _offset(zone, utc[last]) == before:
            continue
        at = next(place for place in range(hour - 60, hour) if _offset(zone, utc[place]) != before)
        offset[begun:at] = before
        changes.append(at)
        begun, before = at, _offset(zone, utc[last])
    offset[begun:] = before
    return MinuteWalk(utc, utc + offset, offset, tuple(changes))


def _offset(zone: str, minute: int) -> int:
    shown = moment(minute).astimezone(ZoneInfo(zone)).utcoffset()
    assert shown is not None
    whole, rest = divmod(shown, timedelta(minutes=1))
    assert not rest, "an offset that is no whole minute: the walk would be blind to it"
    return whole


def matches(expression: str, local: np.ndarray) -> np.ndarray:
    """Which of these local minutes an expression tells: lists, ranges, steps, L, 5L and 1#2."""
    minute, hour, day, month, weekday = expression.split()
    clock = np.zeros(DAY_MINUTES, dtype=bool)
    for hours in numbers(hour, 0, 23):
        for shown in numbers(minute, 0, 59):
            clock[hours * 60 + shown] = True
    wanted = clock[local % DAY_MINUTES]
    fitting = [int(number) for number in np.unique(local[wanted] // DAY_MINUTES)
               if _day_fits(date(1970, 1, 1) + timedelta(days=int(number)), day, month, weekday)]  # fmt: skip
    wanted[wanted] = np.isin(local[wanted] // DAY_MINUTES, fitting)
    return wanted


def numbers(field: str, least: int, most: int) -> set[int]:
    """The numbers that a field of lists, ranges and steps tells."""
    found: set[int] = set()
    for part in field.split(","):
        span, _, step = part.partition("/")
        low, _, high = span.partition("-")
        first = least if span == "*" else int(low)
        last = most if span == "*" or (step and not high) else int(high or low)
        found.update(range(first, last + 1, int(step or 1)))
    return found


def _day_fits(day: date, days: str, months: str, weekdays: str) -> bool:
    if day.month not in numbers(months, 1, 12):
        return False
    by_day, by_weekday = _fits_day(day, days), _fits_weekday(day, weekdays)
    if days.startswith("*") or weekdays.startswith("*"):
        return by_day and by_weekday
    return by_day or by_weekday


def _fits_day(day: date, field: str) -> bool:
    last = calendar.monthrange(day.year, day.month)[1]
    parts = field.split(",")
    plain = ",".join(part for part in parts if part != "L")
    return ("L" in parts and day.day == last) or bool(plain and day.day in numbers(plain, 1, 31))


def _fits_weekday(day: date, field: str) -> bool:
    sunday_first = day.isoweekday() % 7
    last = calendar.monthrange(day.year, day.month)[1]
    if field.endswith("L"):
        return sunday_first == int(field[:-1]) and day.day + 7 > last
    if "#" in field:
        weekday, number = map(int, field.split("#"))
        return sunday_first == weekday and (day.day - 1) // 7 + 1 == number
    return sunday_first in {number % 7 for number in numbers(field, 0, 7)}
