"""How a service goes on with a schedule, by its policy for what passed while no service ran."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from headrace.domain.schedules import CatchUp, Schedule
from headrace.store.schedules import Progress
from headrace.triggers.catching_up import Course, plan_course
from headrace.triggers.slots import Slots
from headrace.triggers.timing import Timing

from tests.support.schedules import START, utc

A_DAY_LATER = START + timedelta(days=1)
STOPPED = Progress(1, START - timedelta(days=1), None, utc("2026-05-06T10:00"))
"""Nothing ran since the slot of ten o'clock."""
LAST_HOUR = utc("2026-05-07T10:00")


def course(progress: Progress, now=A_DAY_LATER, expressions: tuple[str, ...] = ("@hourly",), **more) -> Course:
    return plan_course(timing(expressions, **more), progress, now)


def timing(expressions: tuple[str, ...] = ("@hourly",), **more) -> Timing:
    return Timing(Slots(Schedule(expressions, **more), more.get("enabled_at") or START), "schedule:p/t")


def up_to_now(found: Course, expressions: tuple[str, ...] = ("@hourly",)) -> list[str]:
    slots = Slots(Schedule(expressions, end=A_DAY_LATER))
    return [f"{slot.at:%d %H}" for slot in slots.after(found.after)]


def test_none_leaves_out_all_that_passed():
    found = course(STOPPED, catch_up=CatchUp.NONE)
    assert (up_to_now(found), found.at_once, found.missed) == ([], (), None)


def test_latest_makes_the_last_that_passed():
    found = course(STOPPED, catch_up=CatchUp.LATEST)
    assert (up_to_now(found), found.at_once, found.missed) == (["07 10"], (), None)


def test_all_makes_up_for_each_and_goes_on_behind_them():
    found = course(STOPPED, catch_up=CatchUp.ALL)
    assert up_to_now(found) == []
    assert found.missed is not None
    assert (found.missed.after, found.missed.until) == (STOPPED.last_slot, LAST_HOUR)


def test_all_has_a_bound_that_keeps_the_newest():
    found = course(STOPPED, catch_up=CatchUp.ALL, most_caught_up=3)
    assert found.missed is not None
    assert found.missed.after == found.missed.floor == utc("2026-05-07T08:00") - timedelta(microseconds=1)


@pytest.mark.parametrize("policy", list(CatchUp))
def test_where_nothing_passed_nothing_is_made_up_for(policy):
    found = course(STOPPED, now=START + timedelta(minutes=30), catch_up=policy)
    assert found == Course(utc("2026-05-06T10:00"))


@pytest.mark.parametrize("policy", list(CatchUp))
def test_slots_before_the_trigger_was_enabled_are_nobodys(policy):
    enabled = replace(STOPPED, enabled_at=A_DAY_LATER - timedelta(minutes=1))
    assert up_to_now(course(enabled, catch_up=policy)) == []
    assert course(enabled, catch_up=policy).missed is None


def test_slots_count_anew_where_what_decides_them_changed():
    changed = replace(STOPPED, counts_from=A_DAY_LATER - timedelta(hours=2))
    found = course(changed, catch_up=CatchUp.ALL)
    assert found.missed is not None
    assert found.missed.after == A_DAY_LATER - timedelta(hours=2, microseconds=1)


def test_a_slot_at_the_moment_of_enabling_counts():
    enabled = Progress(1, utc("2026-05-06T11:00"), None, None)
    assert up_to_now(course(enabled, now=utc("2026-05-06T11:00")))[:1] == ["06 11"]


def test_the_files_own_word_on_enabling_counts_before_the_databases():
    found = course(Progress(1, A_DAY_LATER, None, None), enabled_at=utc("2026-01-01"))
    assert up_to_now(found) == ["07 10"]


NEVER_RAN = Progress(1, START, None, None)


@pytest.mark.parametrize("policy", list(CatchUp))
def test_the_initial_run_is_that_of_the_period_in_which_the_trigger_was_enabled(policy):
    found = course(NEVER_RAN, now=START, create_initial_run=True, catch_up=policy)
    assert [slot.at for slot in found.at_once] == [utc("2026-05-06T10:00")]


def test_there_is_no_initial_run_twice_nor_before_the_start():
    made = replace(NEVER_RAN, last_slot=utc("2026-05-06T10:00"))
    assert course(made, now=START, create_initial_run=True).at_once == ()
    assert course(NEVER_RAN, now=START, create_initial_run=True, start=START).at_once == ()
    since_then = replace(NEVER_RAN, last_slot=utc("2026-05-06T11:00"))
    assert course(since_then, now=utc("2026-05-06T12:30"), create_initial_run=True).at_once == ()


@pytest.mark.parametrize("policy", list(CatchUp))
def test_once_is_made_up_for_under_any_policy(policy):
    found = course(NEVER_RAN, expressions=("@once", "@hourly"), catch_up=policy)
    slots = Slots(Schedule(("@once", "@hourly"), end=A_DAY_LATER), START)
    made = {slot.key for slot in found.at_once} | {slot.key for slot in slots.after(found.after)}
    if found.missed is not None:
        made |= {slot.key for slot in slots.after(found.missed.after)}
    assert "once" in made


def test_once_is_not_made_again():
    assert course(replace(NEVER_RAN, last_slot=START), expressions=("@once",), catch_up=CatchUp.NONE).at_once == ()


def test_a_slot_whose_spread_start_is_still_to_come_was_not_missed():
    now = utc("2026-05-07T10:00:01")
    found = course(STOPPED, now=now, catch_up=CatchUp.NONE, jitter=3000.0)
    assert Timing(Slots(Schedule(("@hourly",), jitter=3000.0)), "schedule:p/t").last_started(now).at < LAST_HOUR
    assert next(Slots(Schedule(("@hourly",))).after(found.after)).at == LAST_HOUR


def test_what_another_service_made_already_is_not_made_again():
    ahead = replace(STOPPED, last_slot=LAST_HOUR)
    assert course(ahead, catch_up=CatchUp.LATEST) == Course(LAST_HOUR)
