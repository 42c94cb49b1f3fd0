"""Intervals follow the calendar of their zone, and both bounds count."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise
from zoneinfo import ZoneInfo

import pytest
from headrace.domain.intervals import BadInterval, Every, Unit, intervals, last_intervals, read_every
from hypothesis import given
from hypothesis import strategies as st

BERLIN = ZoneInfo("Europe/Berlin")


def starts(start: datetime, end: datetime, every: str, zone: ZoneInfo | None = None) -> list[str]:
    found = intervals(start, end, read_every(every), zone or ZoneInfo("UTC"))
    return [interval.start.astimezone(zone or UTC).isoformat() for interval in found]


@pytest.mark.parametrize(
    ("text", "every"),
    [
        ("day", Every(Unit.DAY)),
        ("2 hours", Every(Unit.HOUR, 2)),
        ("15minutes", Every(Unit.MINUTE, 15)),
        ("Month", Every(Unit.MONTH)),
        (" 3 weeks ", Every(Unit.WEEK, 3)),
    ],
)
def test_a_length_is_read(text: str, every: Every) -> None:
    assert read_every(text) == every
    assert read_every(str(every)) == every


@pytest.mark.parametrize("text", ["", "0 days", "fortnight", "-1 day", "1.5 hours", "day day", "9999999 days"])
def test_what_is_no_length_is_refused(text: str) -> None:
    with pytest.raises(BadInterval):
        read_every(text)


def test_both_bounds_count() -> None:
    start, end = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 3, tzinfo=UTC)
    assert starts(start, end, "day") == [f"2026-01-0{day}T00:00:00+00:00" for day in (1, 2, 3)]
    assert len(starts(start, end - timedelta(seconds=1), "day")) == 2
    assert len(starts(start, start, "day")) == 1


def test_days_begin_at_the_same_local_time_when_the_clocks_change() -> None:
    start = datetime(2026, 3, 28, tzinfo=BERLIN)
    found = list(intervals(start, start + timedelta(days=3), Every(Unit.DAY), BERLIN))
    assert [interval.start.astimezone(BERLIN).hour for interval in found] == [0, 0, 0, 0]
    assert [(interval.end - interval.start) // timedelta(hours=1) for interval in found] == [24, 23, 24, 24]


def test_hours_are_exact_when_the_clocks_change() -> None:
    start = datetime(2026, 10, 25, 0, tzinfo=BERLIN)
    found = list(intervals(start, datetime(2026, 10, 26, 0, tzinfo=BERLIN), Every(Unit.HOUR), BERLIN))
    assert len(found) == 26
    assert {interval.end - interval.start for interval in found} == {timedelta(hours=1)}


def test_a_month_that_lacks_the_day_ends_the_day_before() -> None:
    assert starts(datetime(2024, 1, 31, tzinfo=UTC), datetime(2024, 5, 31, tzinfo=UTC), "month") == [
        f"2024-{day}T00:00:00+00:00" for day in ("01-31", "02-29", "03-31", "04-30", "05-31")
    ]
    assert starts(datetime(2024, 2, 29, tzinfo=UTC), datetime(2025, 3, 1, tzinfo=UTC), "year")[-1][:10] == "2025-02-28"


@pytest.mark.parametrize(
    ("start", "end", "told"),
    [
        (datetime(2026, 1, 2, tzinfo=UTC), datetime(2026, 1, 1, tzinfo=UTC), "before it begins"),
        (datetime(2026, 1, 1), datetime(2026, 1, 2, tzinfo=UTC), "time zone"),  # noqa: DTZ001 - what is refused
        (datetime(2026, 1, 1, tzinfo=UTC), datetime(2036, 1, 1, tzinfo=UTC), "more than"),
    ],
)
def test_a_range_that_is_none_is_refused(start: datetime, end: datetime, told: str) -> None:
    with pytest.raises(BadInterval, match=told):
        list(intervals(start, end, Every(Unit.SECOND)))


@given(
    st.datetimes(datetime(2020, 1, 1), datetime(2030, 1, 1)),  # noqa: DTZ001 - made aware below
    st.integers(1, 60),
    st.sampled_from(list(Unit)),
    st.integers(1, 5),
    st.sampled_from(["UTC", "Europe/Berlin", "Australia/Lord_Howe", "America/Santiago"]),
)
def test_intervals_follow_one_another_without_gap_or_overlap(
    start: datetime, length: int, unit: Unit, count: int, zone: str
) -> None:
    begin = start.replace(tzinfo=ZoneInfo(zone), microsecond=0)
    end = begin + timedelta(seconds=length) if unit in (Unit.SECOND, Unit.MINUTE) else begin + timedelta(days=length)
    found = list(intervals(begin, end, Every(unit, count), ZoneInfo(zone)))
    assert found[0].start == begin.astimezone(UTC)
    assert found[-1].start <= end < found[-1].end
    assert all(one.end == two.start for one, two in pairwise(found))
    assert all(interval.start < interval.end for interval in found)


@pytest.mark.parametrize(
    ("every", "count", "first", "last"),
    [
        ("day", 7, "2026-03-23T00:00:00+01:00", "2026-03-29T00:00:00+01:00"),
        ("week", 2, "2026-03-16T00:00:00+01:00", "2026-03-23T00:00:00+01:00"),
        ("month", 3, "2025-12-01T00:00:00+01:00", "2026-02-01T00:00:00+01:00"),
        ("hour", 2, "2026-03-30T00:00:00+02:00", "2026-03-30T01:00:00+02:00"),
        ("15 minutes", 1, "2026-03-30T02:15:00+02:00", "2026-03-30T02:15:00+02:00"),
    ],
)
def test_the_last_intervals_are_those_that_are_over(every: str, count: int, first: str, last: str) -> None:
    moment = datetime(2026, 3, 30, 2, 30, tzinfo=BERLIN)
    found = last_intervals(moment, read_every(every), count, BERLIN)
    assert [bound.astimezone(BERLIN).isoformat() for bound in found] == [first, last]


@pytest.mark.parametrize("every", ["hour", "day", "month", "year"])
@pytest.mark.parametrize("zone", ["UTC", "Pacific/Kiritimati", "America/Adak"])
def test_a_range_that_leaves_the_calendar_is_refused(every: str, zone: str) -> None:
    last = datetime(9999, 12, 31, 23, 59, tzinfo=ZoneInfo("UTC"))
    with pytest.raises(BadInterval, match="9999"):
        starts(last, last, every, ZoneInfo(zone))


@pytest.mark.parametrize(
    ("every", "previous"),
    [
        ("month", ["2026-02-28", "2026-03-31", "2026-04-30"]),
        ("day", ["2026-03-30", "2026-03-31", "2026-04-01"]),
        ("2 hours", ["2026-03-30", "2026-03-31", "2026-03-31"]),
    ],
)
def test_each_interval_tells_where_the_one_before_it_began(every: str, previous: list[str]) -> None:
    first = datetime(2026, 3, 31, tzinfo=BERLIN)
    found = list(islice(intervals(first, first + timedelta(days=100), read_every(every), BERLIN), 3))
    told = [interval.previous.astimezone(BERLIN) for interval in found if interval.previous is not None]
    assert [moment.date().isoformat() for moment in told] == previous
    assert [moment.astimezone(UTC) for moment in told[1:]] == [interval.start for interval in found[:-1]]
