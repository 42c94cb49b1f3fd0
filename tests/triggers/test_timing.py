"""When the runs of slots start, and the interval that each one gets."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise

import pytest
from headrace.domain.schedules import Schedule, spread
from headrace.triggers.slots import Slots
from headrace.triggers.timing import TimedSlot, Timing, landing_lead
from hypothesis import given
from hypothesis import strategies as st

from tests.support.schedules import START, utc


def timing(*expressions: str, source: str = "schedule:p/t", lead: timedelta | None = None, **more) -> Timing:
    return Timing(Slots(Schedule(expressions, **more), START), source, lead)


def first(found: Timing, after: datetime = START) -> TimedSlot:
    return next(found.after(after))


def test_a_run_starts_at_its_slot():
    found = timing("@hourly")
    assert found.starts_at(first(found)) == utc("2026-05-06T11:00")


@given(
    expression=st.sampled_from(["* * * * *", "*/7 * * * *", "0 9,10 * * *", "every 90 seconds"]),
    jitter=st.floats(0.001, 7200),
    source=st.text(min_size=1),
)
def test_jitter_spreads_starts_between_a_slot_and_the_next_one(expression, jitter, source):
    found = timing(expression, source=source, jitter=jitter)
    slots = list(islice(found.after(START), 20))
    for timed, following in pairwise(slots):
        starts = found.starts_at(timed)
        assert timed.slot.at <= starts < timed.slot.at + timedelta(seconds=jitter) + timedelta(milliseconds=1)
        assert starts < following.slot.at


def test_services_agree_on_jitter_and_schedules_do_not():
    assert spread("schedule:p/a", "k", 60) == spread("schedule:p/a", "k", 60)
    spreads = {round(spread(f"schedule:p/{number}", "k", 60)) for number in range(200)}
    assert len(spreads) > 45
    assert 0 <= min(spreads) <= max(spreads) <= 60


@pytest.mark.parametrize(
    ("runtimes", "lead"),
    [([], None), ([59.2], 60), ([60.0, 80.0], 78), ([100.0] * 7, 100)],
)
def test_the_lead_is_the_mean_and_half_the_deviation_of_the_last_runs(runtimes, lead):
    assert landing_lead(runtimes) == (None if lead is None else timedelta(seconds=lead))


def test_a_run_with_landing_time_starts_earlier_by_its_lead():
    found = timing("@daily", start=utc("2026-01-01T12:25"), landing_time=True, lead=timedelta(minutes=40))
    assert found.starts_at(first(found)) == utc("2026-05-06T11:45")


def test_a_lead_may_reach_into_the_period_before_but_not_beyond_the_slot_before():
    found = timing("@daily", start=utc("2026-01-01T00:05"), landing_time=True, lead=timedelta(minutes=20))
    assert found.starts_at(first(found)) == utc("2026-05-06T23:45")
    found.lead = timedelta(days=3)
    assert found.starts_at(first(found)) == utc("2026-05-06T00:05")


def test_without_any_run_before_it_a_landing_run_starts_with_its_period():
    found = timing("@daily", start=utc("2026-01-01T12:25"), landing_time=True)
    assert found.starts_at(first(found)) == utc("2026-05-06T00:00")


def intervals(found: Timing) -> tuple[object, ...]:
    return tuple(first(found).interval.values())


def test_a_slot_begins_the_interval_up_to_the_next_one():
    assert first(timing("*/10 * * * *"), utc("2026-05-06T12:15")).interval == {
        "interval_start_datetime": utc("2026-05-06T12:20"),
        "interval_end_datetime": utc("2026-05-06T12:30"),
        "interval_seconds": 600,
        "interval_start_datetime_previous": utc("2026-05-06T12:10"),
    }


@pytest.mark.parametrize(
    ("word", "after", "start", "end", "previous"),
    [
        ("@hourly", "2026-05-06T10:20", "2026-05-06T11:00", "2026-05-06T12:00", "2026-05-06T10:00"),
        ("@daily", "2026-05-06T10:20", "2026-05-07", "2026-05-08", "2026-05-06"),
        ("@weekly", "2026-05-06T10:20", "2026-05-11", "2026-05-18", "2026-05-04"),
        ("@monthly", "2026-02-06T10:20", "2026-03-01", "2026-04-01", "2026-02-01"),
    ],
)
def test_mages_periods_have_the_intervals_that_they_name(word, after, start, end, previous):
    found = first(timing(word), utc(after)).interval
    assert list(found.values()) == [
        utc(start), utc(end), int((utc(end) - utc(start)).total_seconds()), utc(previous),
    ]  # fmt: skip


def test_a_day_in_a_zone_is_as_long_as_its_clocks_make_it():
    found = first(timing("@daily", timezone="Europe/Berlin"), utc("2026-10-24T12:00")).interval
    assert found["interval_seconds"] == 25 * 3600


def test_once_begins_an_interval_without_an_end():
    found = first(timing("@once"), START - timedelta(seconds=1)).interval
    assert list(found.values()) == [START, None, None, None]


def test_the_first_and_the_last_slot_have_neighbours_beyond_start_and_end():
    found = timing("@daily", start=utc("2026-05-07"), end=utc("2026-05-07"))
    assert [(timed.previous, timed.slot.at, timed.following) for timed in found.after(START)] == [
        (utc("2026-05-06"), utc("2026-05-07"), utc("2026-05-08"))
    ]


@given(st.datetimes(datetime(2025, 1, 1), datetime(2027, 1, 1), timezones=st.just(UTC)))  # noqa: DTZ001
def test_the_last_started_slot_is_the_last_one_whose_start_has_come(now):
    found = timing("*/30 * * * *", jitter=1700.0)
    last = found.last_started(now)
    assert last is not None
    around = [found.between_neighbours(last), next(found.after(last.at))]
    assert found.starts_at(around[0]) <= now < found.starts_at(around[1])
