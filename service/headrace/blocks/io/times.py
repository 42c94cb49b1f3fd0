"""Dates and spans of Postgres that no type of Python holds: told apart, where asyncpg would change them silently."""

from __future__ import annotations

import datetime
from typing import Any

_ORDINAL_2000 = datetime.date(2000, 1, 1).toordinal()
_LAST = datetime.date.max.toordinal()
_INFINITY = 2**31 - 1
INFINITE = {datetime.datetime.max: "infinity", datetime.datetime.min: "-infinity"}  # noqa: DTZ901 - as asyncpg has them
"""What asyncpg makes of infinite times, of those with a zone, too."""


class OutOfRange(str):
    """The text of a date or a span for which Python has no value."""

    __slots__ = ()


def read_date(raw: tuple[int]) -> datetime.date | OutOfRange:
    """A date from its days since 2000-01-01, as Postgres sends it."""
    (days,) = raw
    ordinal = days + _ORDINAL_2000
    if 1 <= ordinal <= _LAST:
        return datetime.date.fromordinal(ordinal)
    if abs(days) >= _INFINITY:
        return OutOfRange("infinity" if days > 0 else "-infinity")
    return OutOfRange("a date beyond the years 1 to 9999")


def send_date(value: datetime.date) -> tuple[int]:
    """What `read_date` reads."""
    return (value.toordinal() - _ORDINAL_2000,)


def read_span(raw: tuple[int, int, int]) -> datetime.timedelta | OutOfRange:
    """A span from its months, days and microseconds. Months are no number of days."""
    months, days, microseconds = raw
    if months:
        return OutOfRange(f"a span with {months} months")
    return datetime.timedelta(days=days, microseconds=microseconds)


def send_span(value: datetime.timedelta) -> tuple[int, int, int]:
    """What `read_span` reads."""
    return 0, value.days, value.seconds * 1_000_000 + value.microseconds


def first_out_of_range(values: list[Any]) -> tuple[int, str] | None:
    """The place and the text of the first value that is an infinity, or for which Python has none."""
    for place, value in enumerate(values):
        if isinstance(value, OutOfRange):
            return place, value
        if value in INFINITE:
            return place, INFINITE[value]
    return None
