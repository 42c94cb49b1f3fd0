"""What a schedule leaves out: days, and the minutes that cron expressions tell."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, time, timedelta

from cronsim import CronSim

from headrace.domain.expressions import DaysOff, days_off_of
from headrace.project.cron import read_cron

DAY, HOUR, MINUTE = timedelta(days=1), timedelta(hours=1), timedelta(minutes=1)
Stretch = tuple[datetime, datetime]
"""Local times from the first to before the second."""


class Exclusions:
    """The exclusions of one schedule, asked about local times. Raises BadCron for what is neither days nor cron."""

    def __init__(self, texts: Iterable[str]) -> None:
        self._days: list[DaysOff] = []
        self._crons: list[CronSim] = []
        for text in texts:
            days = days_off_of(text)
            if days is None:
                self._crons.append(read_cron(text))
            else:
                self._days.append(days)

    def stretch(self, wall: datetime) -> Stretch | None:
        """A stretch of excluded time around a local time, a day or hour long where all of that is excluded at once."""
        if any(days.covers(wall.date()) for days in self._days):
            return _whole_day(wall)
        return next((found for cron in self._crons if (found := _stretch(cron, wall)) is not None), None)


def _stretch(cron: CronSim, wall: datetime) -> Stretch | None:
    if wall.month not in cron.months or wall.hour not in cron.hours or wall.minute not in cron.minutes:
        return None
    if not cron.match_day(wall.date()):
        return None
    if len(cron.minutes) < 60:
        minute = wall.replace(second=0, microsecond=0)
        return minute, minute + MINUTE
    if len(cron.hours) < 24:
        hour = wall.replace(minute=0, second=0, microsecond=0)
        return hour, hour + HOUR
    return _whole_day(wall)


def _whole_day(wall: datetime) -> Stretch:
    start = datetime.combine(wall.date(), time())
    return start, start + DAY
