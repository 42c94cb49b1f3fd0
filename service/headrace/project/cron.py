"""Reads cron expressions; everything that asks for one asks here."""

from __future__ import annotations

from datetime import datetime

from cronsim import CronSim, CronSimError

from headrace.domain.errors import HeadraceError

_ANY_TIME = datetime(2024, 1, 1)  # noqa: DTZ001 - cron tells local times, which have no zone


class BadCron(HeadraceError):
    """A text is not a cron expression of five or six fields."""

    code = "bad-cron"


def read_cron(text: str) -> CronSim:
    """A cron expression's fields, read: minute, hour, day, month, weekday, or those with the second before them.

    Names of months and days, lists, ranges, steps, L (last day; 5L: last Friday), LW and # (MON#2) are known; 0 and 7
    are Sunday. Day and weekday must both fit where one of them begins with *, else either. Raises BadCron.
    """
    try:
        return CronSim(text, _ANY_TIME)
    except CronSimError as error:
        fields = len(text.split())
        told = f"{text!r} is no cron expression: {str(error).lower()}."
        remedy = "Write minute, hour, day, month and weekday." if fields not in (5, 6) else "Mend that field."
        raise BadCron(told, remedy=remedy) from error
