"""Backfills as people ask for them, in words, on the command line and over HTTP; and the requests that these become."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from headrace.domain.backfills import Order, Reprocess
from headrace.domain.errors import HeadraceError
from headrace.domain.intervals import read_every
from headrace.project.plain import kept_variables
from headrace.triggers.backfilling import PRIORITY, BackfillRequest


class BadBackfill(HeadraceError):
    """A backfill cannot be made as it was asked for."""

    code = "bad-backfill"


@dataclass(frozen=True, slots=True)
class BackfillWish:
    """A backfill that somebody wants. `start` and `end` are local times of `timezone` where they tell no other zone."""

    pipeline: str
    start: datetime
    end: datetime
    interval: str = "day"
    timezone: str = "UTC"
    reprocess: str = Reprocess.MISSING
    order: str = Order.FORWARDS
    concurrency: int = 1
    pace: float = 0.0
    priority: int = PRIORITY
    variables: Mapping[str, Any] = field(default_factory=dict)
    key: str | None = None

    def request(self, project_id: int) -> BackfillRequest:
        """The request, its words understood. Raises BadBackfill, BadInterval, UnusableVariable."""
        zone = _zone(self.timezone)
        return BackfillRequest(
            project_id,
            self.pipeline,
            _in_zone(self.start, zone),
            _in_zone(self.end, zone),
            read_every(self.interval),
            self.timezone,
            _reprocess(self.reprocess),
            Order(self.order),
            kept_variables(self.variables),
            self.concurrency,
            self.pace,
            self.priority,
            key=self.key,
        )


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise BadBackfill(f"There is no time zone {name!r}.", remedy="Write Europe/Berlin or the like.") from error


def _in_zone(moment: datetime, zone: ZoneInfo) -> datetime:
    return moment.replace(tzinfo=zone) if moment.tzinfo is None else moment


def _reprocess(word: str) -> Reprocess:
    if word not in set(Reprocess):
        raise BadBackfill(f"It cannot reprocess {word!r}.", remedy=f"Write {', '.join(Reprocess)}.")
    return Reprocess(word)
