"""What a schedule's expressions and exclusions say, apart from cron itself: Mage's words, intervals, days."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum


class Word(StrEnum):
    """Mage's words for schedules."""

    ONCE = "@once"
    """One slot, at the start, or when the trigger is enabled."""
    HOURLY = "@hourly"
    """The start of every hour."""
    DAILY = "@daily"
    """The start of every day."""
    WEEKLY = "@weekly"
    """The start of every Monday."""
    MONTHLY = "@monthly"
    """The start of the first day of every month."""
    ALWAYS_ON = "@always_on"
    """No slots: a new run whenever none is active."""


WORD_CRON = {
    Word.HOURLY: "0 * * * *",
    Word.DAILY: "0 0 * * *",
    Word.WEEKLY: "0 0 * * 1",
    Word.MONTHLY: "0 0 1 * *",
}
"""Words for periods, as cron says them."""

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_UNIT = r"(s|secs?|seconds?|m|mins?|minutes?|h|hours?|d|days?|w|weeks?)"
_INTERVAL = re.compile(rf"@?every\s+(?:{_UNIT}|((?:\d+\s*{_UNIT}\s*)+))", re.IGNORECASE)
_PART = re.compile(rf"(\d+)\s*{_UNIT}\s*", re.IGNORECASE)
_LONGEST = timedelta(days=3660)


def word_of(expression: str) -> Word | None:
    """The word that an expression is."""
    text = expression.strip().lower()
    return Word(text) if text in set(Word) else None


def interval_of(expression: str) -> timedelta | None:
    """The interval that `every 90 seconds`, `every hour` or `@every 1h30m` tells: from a second to ten years."""
    found = _INTERVAL.fullmatch(expression.strip())
    if found is None:
        return None
    parts = [("1", found[1])] if found[1] else _PART.findall(found[2])
    seconds = sum(int(number) * _UNITS[unit[0].lower()] for number, unit in parts)
    return timedelta(seconds=seconds) if 1 <= seconds <= _LONGEST.total_seconds() else None


@dataclass(frozen=True, slots=True)
class DaysOff:
    """Days from `first` to `last`, both included; where `yearly`, of every year, perhaps over its end."""

    first: date
    last: date
    yearly: bool = False

    def covers(self, day: date) -> bool:
        """Whether `day` is one of them."""
        if not self.yearly:
            return self.first <= day <= self.last
        first, here, last = _in_year(self.first), _in_year(day), _in_year(self.last)
        return first <= here <= last if first <= last else here >= first or here <= last


def _in_year(day: date) -> tuple[int, int]:
    return day.month, day.day


_DAY = r"(\d{4}-)?(\d{2}-\d{2})"
_DAYS = re.compile(rf"{_DAY}(?:\s*/\s*{_DAY})?")
_LEAP_YEAR = "2000-"


def days_off_of(text: str) -> DaysOff | None:
    """The days that 2026-12-25, 2026-12-24/2027-01-01, 12-25 or 12-24/01-02 tell; None for any other text."""
    found = _DAYS.fullmatch(text.strip())
    if found is None or (found[4] is not None and bool(found[1]) != bool(found[3])):
        return None
    try:
        first = date.fromisoformat((found[1] or _LEAP_YEAR) + found[2])
        last = date.fromisoformat((found[3] or _LEAP_YEAR) + found[4]) if found[4] else first
    except ValueError:
        return None
    yearly = not found[1]
    return DaysOff(first, last, yearly) if yearly or first <= last else None
