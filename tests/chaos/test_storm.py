"""Storms in their short form; `python -m tests.chaos` is the long one.

Faults 1, 2, 5, 8, 15, 16, 20 and 21 mixed, then 5 and 8 each alone: HEADRACE_CHAOS_POSTGRES_SECONDS=120 and
HEADRACE_CHAOS_BACKENDS_SECONDS=60 are the long forms of those.
"""

from __future__ import annotations

import os
import random

import pytest

from tests.chaos.storm import LEASE, Report, StormPlan, storm
from tests.chaos.strikes import POSTGRES, WEATHERS, plan_strikes
from tests.chaos.telling import tell

POSTGRES_SECONDS = float(os.environ.get("HEADRACE_CHAOS_POSTGRES_SECONDS", "7"))
BACKENDS_SECONDS = float(os.environ.get("HEADRACE_CHAOS_BACKENDS_SECONDS", "4"))

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(900)]


def assert_nothing_is_lost_or_doubled(report: Report) -> None:
    told = "\n".join(report.lines())
    tell(told)
    assert report.violations == [], told
    for counted in ("events sent", "runs", "slots of schedules", "events of sensors", "deliveries to webhooks"):
        assert report.counts[counted] > 0, told


async def test_nothing_is_lost_or_doubled_in_a_storm():
    report = await storm(StormPlan(seconds=8, seed=20))
    assert_nothing_is_lost_or_doubled(report)
    assert sum(report.strikes.values()) >= 4
    assert report.counts["events sent"] > 20
    assert report.counts["runs"] > 20


async def test_fault_05_postgres_that_is_restarted_every_few_seconds_under_load_loses_and_doubles_nothing():
    report = await storm(StormPlan(seconds=POSTGRES_SECONDS, seed=5, weather="postgres"))
    assert_nothing_is_lost_or_doubled(report)
    assert sum(report.strikes.values()) >= POSTGRES_SECONDS // 6
    assert report.strikes.keys() <= POSTGRES.keys()


async def test_fault_08_ten_backends_ended_a_second_lose_and_double_nothing_and_leave_no_transaction_open():
    report = await storm(StormPlan(seconds=BACKENDS_SECONDS, seed=8, weather="backends"))
    assert_nothing_is_lost_or_doubled(report)
    assert sum(report.strikes.values()) >= 5 * BACKENDS_SECONDS


def test_one_seed_gives_one_storm():
    first, second, other = (list(plan_strikes(random.Random(seed), 60, 3, LEASE)) for seed in (7, 7, 8))
    assert first == second != other
    assert len({strike.kind for strike in first}) >= 6


@pytest.mark.parametrize("name", WEATHERS)
def test_a_weather_has_no_other_strikes_than_its_own(name: str):
    weather = WEATHERS[name]
    strikes = list(plan_strikes(random.Random(1), 60, 3, LEASE, weather))
    assert {strike.kind for strike in strikes} <= weather.shares.keys()
    assert len(strikes) >= 60 / weather.gaps[1] * 0.5
