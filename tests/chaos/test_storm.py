"""Faults 1, 2, 5, 8 and 16 mixed: the short form of the storm; `python -m tests.chaos` is the long one."""

from __future__ import annotations

import random

import pytest

from tests.chaos.storm import LEASE, StormPlan, storm
from tests.chaos.strikes import plan


@pytest.mark.chaos
@pytest.mark.timeout(300)
async def test_nothing_is_lost_or_doubled_in_a_storm():
    report = await storm(StormPlan(seconds=8, seed=20))
    assert report.violations == [], "\n".join(report.lines())
    assert sum(report.strikes.values()) >= 4
    assert report.counts["events sent"] > 20
    assert report.counts["runs"] > 20


def test_one_seed_gives_one_storm():
    first, second, other = (list(plan(random.Random(seed), 60, 3, LEASE)) for seed in (7, 7, 8))
    assert first == second != other
    assert len({strike.kind for strike in first}) >= 6
