"""Slots against a walk over every minute, and each rule of schedules by itself."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from itertools import islice, pairwise, takewhile
from zoneinfo import ZoneInfo

import pytest
from headrace.domain.schedules import Fold, Gap, Schedule
from headrace.project.cron import BadCron
from headrace.triggers.local_time import Mark, Slot
from headrace.triggers.slots import Slots
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.minute_walk import END, START, minutes, moment, walk

ZONES = (
    "Australia/Lord_Howe", "America/Santiago", "Africa/Casablanca", "Atlantic/Azores", "Europe/Dublin",
    "America/St_Johns", "Asia/Kathmandu", "Pacific/Apia", "Antarctica/Troll", "America/Havana", "Asia/Tehran",
    "Africa/Cairo",
)  # fmt: skip
POLICIES = [(gap, fold) for gap in Gap for fold in Fold]
SPARSE = ("30 2 * * *", "45 0 L * *", "5 1 * * 5L")
DENSE = ("*/30 * * * *", "0 0 * * *", "10 */2 1-15 * *", "40 0-3 L,1,15 * 1#2")
ANY_TIME = st.datetimes(datetime(2024, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001


def slots(*expressions: str, zone: str = "UTC", **more) -> Slots:
    return Slots(Schedule(expressions, timezone=zone, **more))


def between(found: Slots, start: datetime, end: datetime) -> list[Slot]:
    return list(takewhile(lambda slot: slot.at < end, found.after(start - timedelta(seconds=1))))


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def starts(found: Slots, after: str, count: int) -> list[str]:
    return [slot.at.strftime("%m-%d %H:%M") for slot in islice(found.after(utc(after)), count)]


def assert_equal_to_walk(found: list[Slot], due: list[int]) -> None:
    assert [minutes(slot.at) for slot in found] == due
    assert all(slot.at.second == 0 for slot in found)
    assert len({slot.key for slot in found}) == len(found)


@pytest.mark.parametrize("zone", ZONES)
def test_seven_years_of_slots_are_those_of_a_walk_over_every_minute(zone):
    for gap, fold in zip((Gap.SKIP, Gap.SHIFT, Gap.SKIP), Fold, strict=True):
        due = walk(zone).due(SPARSE, gap, fold)
        assert_equal_to_walk(between(slots(*SPARSE, zone=zone, gap=gap, fold=fold), START, END), due)


@pytest.mark.parametrize("zone", ZONES)
def test_around_every_change_of_the_clocks_slots_are_those_of_a_walk_over_every_minute(zone):
    walked = walk(zone)
    for gap, fold in POLICIES:
        found = slots(*DENSE, zone=zone, gap=gap, fold=fold)
        for change in middles(zone):
            start, end = change - 20 * 60, change + 20 * 60
            due = walked.due(DENSE, gap, fold, start, end)
            assert_equal_to_walk(between(found, moment(start), moment(end)), due)
            assert_latest_is_the_last_due(found, due, change)


def middles(zone: str) -> list[int]:
    """The minutes at which a zone's clocks change; any one where they never do."""
    return [int(walk(zone).utc[change]) for change in walk(zone).changes] or [minutes(START) + 100_000]


def assert_latest_is_the_last_due(found: Slots, due: list[int], change: int) -> None:
    for minute in range(change - 125, change + 125, 50):
        last = found.latest(moment(minute))
        assert last is not None
        assert minutes(last.at) == max(before for before in due if before <= minute)


@pytest.mark.parametrize("zone", ZONES)
def test_starting_anywhere_near_a_change_gives_the_same_slots_as_starting_before(zone):
    found = slots(*DENSE, "every 7 minutes", zone=zone, fold=Fold.BOTH)
    for change in middles(zone)[:4]:
        end = moment(change + 200)
        whole = between(found, moment(change - 200), end)
        for ahead in range(-200, 200, 19):
            since = moment(change + ahead)
            rest = between(found, since + timedelta(seconds=1), end)
            assert rest == [slot for slot in whole if slot.at > since]


ANY_FIELD = st.one_of(
    st.just("*"),
    st.integers(2, 9).map("*/{}".format),
    st.tuples(st.integers(1, 11), st.integers(0, 11)).map(lambda pair: f"{pair[0]}-{pair[0] + pair[1] // 2}"),
    st.lists(st.integers(1, 11), min_size=1, max_size=3).map(lambda listed: ",".join(map(str, listed))),
)
ANY_CRON = st.tuples(
    ANY_FIELD,
    st.one_of(ANY_FIELD, st.sampled_from(["0", "0,1,2,3", "23", "0-3"])),
    st.one_of(ANY_FIELD, st.sampled_from(["L", "L,1,15"])),
    st.sampled_from(["*", "*/2", "1-9", "3,4,10,11"]),
    st.one_of(st.just("*"), st.sampled_from(["0", "7", "1-5", "5L", "1#2"])),
).map(" ".join)


@settings(max_examples=100, deadline=None)
@given(
    expressions=st.lists(ANY_CRON, min_size=1, max_size=3).map(tuple),
    zone=st.sampled_from(ZONES),
    policy=st.sampled_from(POLICIES),
    place=st.integers(0, 27),
)
def test_any_expressions_have_the_slots_of_a_walk_over_every_minute(expressions, zone, policy, place):
    gap, fold = policy
    middle = middles(zone)[place % len(middles(zone))]
    start, end = middle - 18 * 60, middle + 18 * 60
    found = between(slots(*expressions, zone=zone, gap=gap, fold=fold), moment(start), moment(end))
    assert_equal_to_walk(found, walk(zone).due(expressions, gap, fold, start, end))


BERLIN = "Europe/Berlin"


def test_skipped_times_move_on_by_as_much_as_the_clocks_do():
    found = slots("30 2 * * *", zone=BERLIN)
    assert starts(found, "2026-03-27", 4) == ["03-27 01:30", "03-28 01:30", "03-29 01:30", "03-30 00:30"]


def test_a_skipped_time_that_moves_onto_another_slot_makes_one_slot_with_that_ones_key():
    found = between(slots("30 * * * *", zone=BERLIN), utc("2026-03-29T00:00"), utc("2026-03-29T03:00"))
    assert [slot.key for slot in found] == [
        "2026-03-29T01:30:00[Europe/Berlin]",
        "2026-03-29T03:30:00[Europe/Berlin]",
        "2026-03-29T04:30:00[Europe/Berlin]",
    ]


def test_skipped_times_are_left_out_by_policy_and_still_told():
    found = slots("30 2 * * *", zone=BERLIN, gap=Gap.SKIP)
    assert starts(found, "2026-03-28", 2) == ["03-28 01:30", "03-30 00:30"]
    told = list(islice(found.told(utc("2026-03-28")), 3))
    assert [(slot.mark, slot.left_out) for slot in told] == [
        (Mark.PLAIN, False), (Mark.GAP, True), (Mark.PLAIN, False),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("fold", "due"),
    [
        (Fold.FIRST, ["10-25 00:30"]),
        (Fold.SECOND, ["10-25 01:30"]),
        (Fold.BOTH, ["10-25 00:30", "10-25 01:30"]),
        (None, ["10-25 00:30"]),
    ],
)
def test_repeated_times_come_as_the_policy_says(fold, due):
    found = between(slots("30 2 * * *", zone=BERLIN, fold=fold), utc("2026-10-25"), utc("2026-10-26"))
    assert [slot.at.strftime("%m-%d %H:%M") for slot in found] == due


def test_the_two_slots_of_a_repeated_time_have_keys_of_their_own():
    found = between(slots("30 2 * * *", zone=BERLIN, fold=Fold.BOTH), utc("2026-10-25"), utc("2026-10-26"))
    assert [slot.key for slot in found] == [
        "2026-10-25T02:30:00[Europe/Berlin]",
        "2026-10-25T02:30:00[Europe/Berlin]#2",
    ]


@pytest.mark.parametrize("expression", ["*/20 * * * *", "@hourly", "0 0-23 * * *", "0 30 * * * *"])
def test_what_comes_every_hour_does_not_pause_for_the_repeated_one_unless_told_to(expression):
    day = utc("2026-10-24T22:00"), utc("2026-10-25T23:00")
    default = between(slots(expression, zone=BERLIN), *day)
    assert all(after.at - before.at <= timedelta(hours=1) for before, after in pairwise(default))
    paused = between(slots(expression, zone=BERLIN, fold=Fold.FIRST), *day)
    assert max(after.at - before.at for before, after in pairwise(paused)) > timedelta(hours=1)


def test_a_whole_day_that_a_zone_skipped_is_shifted_or_left_out():
    day_before, day_after = utc("2011-12-28T12:00"), utc("2012-01-01T12:00")
    shifted = between(slots("0 6 * * *", zone="Pacific/Apia", gap=Gap.SHIFT), day_before, day_after)
    assert [slot.wall.day for slot in shifted] == [28, 29, 31, 1]
    assert [slot.wall.day for slot in between(slots("0 6 30 12 *", zone="Pacific/Apia"), day_before, day_after)] == [30]
    assert between(slots("0 6 30 12 *", zone="Pacific/Apia", gap=Gap.SKIP), day_before, day_after) == []


def test_mages_words_are_the_starts_of_periods_in_utc():
    since = "2026-05-06T10:20"
    assert starts(slots("@hourly"), since, 2) == ["05-06 11:00", "05-06 12:00"]
    assert starts(slots("@daily"), since, 2) == ["05-07 00:00", "05-08 00:00"]
    assert starts(slots("@weekly"), since, 2) == ["05-11 00:00", "05-18 00:00"]
    assert starts(slots("@monthly"), since, 2) == ["06-01 00:00", "07-01 00:00"]


def test_words_keep_to_a_zone_where_one_is_given():
    assert starts(slots("@daily", zone="Asia/Kathmandu"), "2026-05-06T10:20", 2) == ["05-06 18:15", "05-07 18:15"]


def test_once_is_one_slot_at_the_start_or_when_enabled():
    enabled = utc("2026-05-06T10:20")
    found = Slots(Schedule(("@once",)), enabled)
    assert [slot.key for slot in found.after(enabled - timedelta(microseconds=1))] == ["once"]
    assert list(found.after(enabled)) == []
    at_start = Slots(Schedule(("@once",), start=utc("2026-06-01")), enabled)
    assert [slot.at for slot in at_start.after(enabled)] == [utc("2026-06-01")]
    assert at_start.latest(utc("2026-05-31")) is None


def test_always_on_has_no_slots():
    assert list(slots("@always_on").after(utc("2026-01-01"))) == []
    assert slots("@always_on").latest(utc("2026-01-01")) is None


def test_slots_of_several_expressions_come_in_order_and_once_each():
    found = slots("0 */6 * * *", "0 12 * * *", "30 11 * * *", "every 12 hours")
    assert starts(found, "2026-05-06", 5) == ["05-06 06:00", "05-06 11:30", "05-06 12:00", "05-06 18:00", "05-07 00:00"]


def test_six_fields_begin_with_the_second():
    found = islice(slots("15,45 */30 * * * *").after(utc("2026-05-06")), 3)
    assert [slot.at.strftime("%H:%M:%S") for slot in found] == ["00:00:15", "00:00:45", "00:30:15"]


def test_zero_and_seven_are_sunday_and_day_or_weekday_suffices():
    assert starts(slots("0 0 * * 0"), "2026-05-06", 1) == starts(slots("0 0 * * 7"), "2026-05-06", 1) == ["05-10 00:00"]
    assert starts(slots("0 0 13 * FRI"), "2026-05-06", 3) == ["05-08 00:00", "05-13 00:00", "05-15 00:00"]


@pytest.mark.parametrize("text", ["every 90 seconds", "@every 1m30s", "EVERY 1 minute 30 sec"])
def test_intervals_count_from_1970_whoever_asks(text):
    found = [slot.at for slot in islice(slots(text).after(utc("2026-05-06T00:00:10")), 2)]
    assert found == [utc("2026-05-06T00:01:30"), utc("2026-05-06T00:03:00")]


def test_intervals_count_from_the_start_and_care_for_no_clocks():
    found = slots("every 5 hours", zone=BERLIN, start=utc("2026-03-28T23:00"))
    assert starts(found, "2026-01-01", 3) == ["03-28 23:00", "03-29 04:00", "03-29 09:00"]
    assert [slot.key for slot in islice(found.after(utc("2026-01-01")), 1)] == ["2026-03-28T23:00:00Z"]


def test_no_slot_comes_before_the_start_or_after_the_end():
    found = slots("@daily", start=utc("2026-05-06"), end=utc("2026-05-08"))
    assert starts(found, "2020-01-01", 9) == ["05-06 00:00", "05-07 00:00", "05-08 00:00"]
    assert found.latest(utc("2026-05-05T23:59")) is None
    assert found.latest(utc("2030-01-01")).at == utc("2026-05-08")


def test_excluded_days_ranges_yearly_days_and_minutes_are_left_out():
    excluded = ("2026-12-26", "2026-12-28/2026-12-29", "12-25", "12-31/01-02", "* 0-11 * * *")
    found = slots("0 6,18 * * *", exclusions=excluded)
    assert starts(found, "2026-12-24T12:00", 4) == ["12-24 18:00", "12-27 18:00", "12-30 18:00", "01-03 18:00"]
    assert found.latest(utc("2027-01-03T12:00")).at == utc("2026-12-30T18:00")


def test_exclusions_hold_for_intervals_by_the_local_clock():
    found = slots("every 6 hours", zone="Asia/Kathmandu", exclusions=("2026-05-06",))
    walls = [slot.at for slot in islice(found.after(utc("2026-05-05T17:00")), 2)]
    assert walls == [utc("2026-05-05T18:00"), utc("2026-05-06T18:00") + timedelta(hours=6)]


def test_a_leap_day_of_each_year_excludes_only_leap_days():
    found = slots("@daily", exclusions=("02-29",))
    assert starts(found, "2027-02-27T12:00", 2) == ["02-28 00:00", "03-01 00:00"]
    assert starts(found, "2028-02-27T12:00", 2) == ["02-28 00:00", "03-01 00:00"]


def test_a_schedule_whose_exclusions_leave_nothing_ends_instead_of_looking_for_ever():
    never = slots("* * * * *", exclusions=("0-29 * * * *", "30-59 * * * *"))
    assert list(never.after(utc("2026-01-01"))) == []
    assert never.latest(utc("2026-01-01")) is None
    assert list(slots("0 0 29 2 *", exclusions=("02-29",)).after(utc("2026-01-01"))) == []


def test_landing_time_stands_at_the_clock_time_of_the_start_within_each_period():
    start = utc("2026-05-06T12:25:30")  # a Wednesday
    found = {word: starts(slots(word, start=start, landing_time=True), "2026-05-06T10:00", 2)
             for word in ("@hourly", "@daily", "@weekly", "@monthly")}  # fmt: skip
    assert found == {
        "@hourly": ["05-06 12:25", "05-06 13:25"],
        "@daily": ["05-06 12:25", "05-07 12:25"],
        "@weekly": ["05-06 12:25", "05-13 12:25"],
        "@monthly": ["05-06 12:25", "06-06 12:25"],
    }


@given(ANY_TIME, st.sampled_from(ZONES))
@settings(max_examples=100, deadline=None)
def test_the_latest_slot_is_the_last_before_the_next(at, zone):
    found = slots("17 3 * * *", "every 7 hours", zone=zone, fold=Fold.BOTH)
    last = found.latest(at)
    assert last is not None
    assert last.at <= at
    following = next(found.after(last.at))
    assert following.at > at


@pytest.mark.parametrize("text", ["* * * *", "61 * * * *", "* * 31 2 *", "0 0 * * 8", "0 0 * * MON#6", "@fortnightly"])
def test_what_is_no_cron_is_refused(text):
    with pytest.raises(BadCron):
        slots(text)


def test_walls_are_what_the_zones_clocks_show():
    for slot in islice(slots("*/7 * * * *", zone="Australia/Lord_Howe").after(utc("2026-04-04T12:00")), 300):
        assert slot.at.astimezone(ZoneInfo("Australia/Lord_Howe")).replace(tzinfo=None) == slot.wall


def test_a_slot_keeps_its_key_when_its_zone_gets_new_rules(monkeypatch: pytest.MonkeyPatch):
    def keys(day: str) -> list[str]:
        found = between(slots("30 2,9 * * *", zone=BERLIN, fold=Fold.BOTH), utc(day), utc(day) + timedelta(days=1))
        return [slot.key for slot in found]

    summer = utc("2026-07-01")
    with_summer_time = next(slots("0 9 * * *", zone=BERLIN).after(summer))
    before = [*keys("2026-07-01"), *keys("2026-03-29")]
    monkeypatch.setattr("headrace.triggers.local_time.ZoneInfo", lambda name: timezone(timedelta(hours=1)))
    without = next(slots("0 9 * * *", zone=BERLIN).after(summer))
    assert with_summer_time.key == without.key
    assert without.at - with_summer_time.at == timedelta(hours=1)
    assert [*keys("2026-07-01"), *keys("2026-03-29")] == before
