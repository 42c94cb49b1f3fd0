"""How often each sender may call: a bucket a sender, refilled as time passes."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from headrace.domain.errors import HeadraceError
from headrace.domain.webhooks import Rate

MOST_SENDERS = 10_000


class TooManyRequests(HeadraceError):
    """A sender calls more often than it may."""

    code = "too-many-requests"

    def __init__(self, seconds: float) -> None:
        super().__init__("There were too many requests.", remedy=f"Try again in {seconds:.1f} s.")
        self.headers = {"Retry-After": str(max(1, int(seconds + 0.999)))}


@dataclass
class _Bucket:
    left: float
    at: float


@dataclass
class Rates:
    """Counts requests by sender. Whoever was not heard of for longest is forgotten, which only lets more through."""

    now: Callable[[], float] = time.monotonic
    _buckets: OrderedDict[tuple[str, str], _Bucket] = field(default_factory=OrderedDict)

    def take(self, place: str, sender: str, rate: Rate) -> None:
        """Count one request of a sender to a place. Raises TooManyRequests."""
        now = self.now()
        bucket = self._buckets.setdefault((place, sender), _Bucket(rate.burst, now))
        self._buckets.move_to_end((place, sender))
        bucket.left = min(bucket.left + (now - bucket.at) * rate.per_second, rate.burst)
        bucket.at = now
        if bucket.left < 1:
            raise TooManyRequests((1 - bucket.left) / rate.per_second)
        bucket.left -= 1
        if len(self._buckets) > MOST_SENDERS:
            self._buckets.popitem(last=False)
