"""Intervals of time that pipelines run for: a day, an hour, and where the next one begins in a time zone."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import MAXYEAR, MINYEAR, UTC, datetime, timedelta, tzinfo
from enum import StrEnum

from headrace.domain.errors import HeadraceError

MOST_INTERVALS = 100_000


class BadInterval(HeadraceError):
    """An interval's length, or a range of intervals, is none."""

    code = "bad-interval"


class Unit(StrEnum):
    """The units of an interval's length; Mage's words."""

    SECOND = "second"
    MINUTE = "minute"
    HOUR = "hour"
    DAY = "day"
    WEEK = "week"
    MONTH = "month"
    YEAR = "year"


_SECONDS = {Unit.SECOND: 1, Unit.MINUTE: 60, Unit.HOUR: 3600}
_DAYS = {Unit.DAY: 1, Unit.WEEK: 7}
_MONTHS = {Unit.MONTH: 1, Unit.YEAR: 12}
_TEXT = re.compile(r"\s*(\d+)?\s*([a-z]+?)s?\s*")


@dataclass(frozen=True, slots=True)
class Every:
    """A length of intervals: `count` units. Those up to the hour are exact, longer ones follow the calendar."""

    unit: Unit
    count: int = 1

    def __str__(self) -> str:
        return f"{self.count} {self.unit}{'s' if self.count > 1 else ''}"


@dataclass(frozen=True, slots=True)
class Interval:
    """The time from `start` up to, but not including, `end`; both with a time zone."""

    start: datetime
    end: datetime
    previous: datetime | None = None
    """Where the interval before it began."""


def read_every(text: str) -> Every:
    """The length that a text such as `day`, `2 hours` or `15 minutes` tells. Raises BadInterval."""
    found = _TEXT.fullmatch(text.lower())
    unit = None if found is None else next((unit for unit in Unit if unit == found[2]), None)
    count = int(found[1] or 1) if found is not None else 0
    if unit is None or not 1 <= count <= 1_000_000:
        raise BadInterval(f"An interval cannot be {text!r}.", remedy="Write day, 2 hours, 15 minutes and the like.")
    return Every(unit, count)


def last_intervals(moment: datetime, every: Every, count: int, zone: tzinfo = UTC) -> tuple[datetime, datetime]:
    """The starts of the first and the last of the `count` intervals that were over at `moment`.

    Days begin at midnight in `zone`, weeks on Monday, months and years on their first day, shorter ones in UTC.
    """
    base = _floor(moment, every.unit, zone)
    return _moved(base, every, -count, zone), _moved(base, every, -1, zone)


def _floor(moment: datetime, unit: Unit, zone: tzinfo) -> datetime:
    """Where the unit of time that a moment lies in began."""
    if unit in _SECONDS:
        at = moment.astimezone(UTC).replace(microsecond=0)
        return at - timedelta(seconds=(at.minute * 60 + at.second) % _SECONDS[unit])
    day = moment.astimezone(zone).replace(hour=0, minute=0, second=0, microsecond=0, tzinfo=None)
    if unit is Unit.WEEK:
        day -= timedelta(days=day.weekday())
    elif unit in _MONTHS:
        day = day.replace(day=1) if unit is Unit.MONTH else day.replace(day=1, month=1)
    return day.replace(tzinfo=zone)


def intervals(start: datetime, end: datetime, every: Every, zone: tzinfo = UTC) -> Iterator[Interval]:
    """The intervals that begin at `start`, one after another, the last at `end` or before it: both bounds count.

    Days and longer ones begin at the same local time in `zone`, and so may be an hour longer or shorter. Raises
    BadInterval for bounds without a time zone, the wrong way round, beyond the calendar, or too many intervals.
    """
    try:
        yield from _intervals(start, end, every, zone)
    except OverflowError as error:
        raise BadInterval("The range goes beyond the years 1 to 9999.", remedy="Take other bounds.") from error


def _intervals(start: datetime, end: datetime, every: Every, zone: tzinfo) -> Iterator[Interval]:
    if start.tzinfo is None or end.tzinfo is None:
        raise BadInterval("The bounds of a range need a time zone.")
    if end < start:
        raise BadInterval(f"The range ends at {end.isoformat()}, before it begins at {start.isoformat()}.")
    before, at, number = _moved(start, every, -1, zone), start, 0
    while at <= end:
        if number == MOST_INTERVALS:
            raise BadInterval(f"The range has more than {MOST_INTERVALS} intervals.", remedy="Take a longer interval.")
        number += 1
        after = _moved(start, every, number, zone)
        yield Interval(at.astimezone(UTC), after.astimezone(UTC), before.astimezone(UTC))
        before, at = at, after


def _moved(start: datetime, every: Every, number: int, zone: tzinfo) -> datetime:
    """Where the interval `number` after the first begins."""
    steps = every.count * number
    if every.unit in _SECONDS:
        return start.astimezone(UTC) + timedelta(seconds=steps * _SECONDS[every.unit])
    wall = start.astimezone(zone).replace(tzinfo=None)
    if every.unit in _DAYS:
        moved = wall + timedelta(days=steps * _DAYS[every.unit])
    else:
        moved = _months_later(wall, steps * _MONTHS[every.unit])
    return moved.replace(tzinfo=zone).astimezone(UTC)


def _months_later(wall: datetime, months: int) -> datetime:
    """The same day so many months later, or that month's last."""
    year, month = divmod(wall.year * 12 + wall.month - 1 + months, 12)
    if not MINYEAR <= year <= MAXYEAR:
        raise OverflowError(year)
    for day in (wall.day, 30, 29, 28):
        try:
            return wall.replace(year=year, month=month + 1, day=day)
        except ValueError:
            continue
    raise AssertionError("every month has a 28th")
