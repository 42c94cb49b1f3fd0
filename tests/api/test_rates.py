"""A sender's bucket: a burst at once, then as many as the rate allows."""

from __future__ import annotations

import pytest
from headrace.api import rates
from headrace.api.rates import Rates, TooManyRequests
from headrace.domain.webhooks import Rate


class Time:
    at = 100.0

    def __call__(self) -> float:
        return self.at


def taken(counted: Rates, rate: Rate, sender: str = "a") -> bool:
    try:
        counted.take("hook", sender, rate)
    except TooManyRequests:
        return False
    return True


def test_a_burst_passes_at_once_and_then_the_rate_counts():
    time = Time()
    counted, rate = Rates(time), Rate(2, 3)
    assert [taken(counted, rate) for _ in range(5)] == [True, True, True, False, False]
    time.at += 0.5
    assert [taken(counted, rate) for _ in range(2)] == [True, False]
    time.at += 100
    assert [taken(counted, rate) for _ in range(4)] == [True, True, True, False]


def test_senders_and_places_are_counted_apart():
    counted, rate = Rates(Time()), Rate(1, 1)
    assert taken(counted, rate, "a")
    assert taken(counted, rate, "b")
    counted.take("other", "a", rate)
    assert not taken(counted, rate, "a")


@pytest.mark.parametrize(("rate", "seconds"), [(Rate(0.1, 1), "10"), (Rate(3, 1), "1")])
def test_who_is_refused_is_told_when_to_come_again(rate: Rate, seconds: str):
    counted = Rates(Time())
    counted.take("hook", "a", rate)
    with pytest.raises(TooManyRequests) as refused:
        counted.take("hook", "a", rate)
    assert refused.value.headers == {"Retry-After": seconds}


def test_the_number_of_senders_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(rates, "MOST_SENDERS", 10)
    counted, rate = Rates(Time()), Rate(1, 1)
    for number in range(100):
        assert taken(counted, rate, str(number))
    assert len(counted._buckets) <= 10
    assert not taken(counted, rate, "99")
