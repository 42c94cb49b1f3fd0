"""The retry policy: how long a failed block waits."""

import pytest
from headrace.domain.retry import RetryPolicy


@pytest.mark.parametrize(("failures", "seconds"), [(1, 5.0), (2, 10.0), (3, 20.0), (4, 40.0), (5, 60.0), (9, 60.0)])
def test_delays_grow_up_to_the_cap(failures, seconds):
    assert RetryPolicy(count=9).wait(failures, 0.5) == seconds


@pytest.mark.parametrize("factor", [2.0, 1000.0])
@pytest.mark.parametrize("delay", [0.0, 0.001])
def test_growth_beyond_all_numbers_is_the_cap(factor, delay):
    policy = RetryPolicy(count=100_000, delay=delay, factor=factor, cap=0.001)
    assert policy.wait(50_000, 0.5) == delay


@pytest.mark.parametrize(("chance", "seconds"), [(0.0, 8.0), (0.5, 10.0), (1.0, 12.0)])
def test_jitter_spreads_around_the_delay(chance, seconds):
    assert RetryPolicy(delay=10.0, jitter=0.2).wait(1, chance) == pytest.approx(seconds)
