"""Backfills as people see them: the same for the command line and for the API."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from headrace.domain.backfills import PlannedInterval
from headrace.store.backfills import StoredBackfill, StoredInterval


@dataclass(frozen=True, slots=True)
class IntervalCounts:
    """How many intervals of a backfill have come to what."""

    waiting: int
    running: int
    completed: int
    failed: int
    left_out: int
    cancelled: int


@dataclass(frozen=True, slots=True)
class BackfillView:
    """A backfill; both bounds count. `pace` is in seconds between two runs, `reason` tells why it failed."""

    id: int
    project: str
    pipeline: str
    name: str
    status: str
    reason: str | None
    start: datetime
    end: datetime
    interval: str
    timezone: str
    reprocess: str
    order: str
    concurrency: int
    pace: float
    priority: int
    variables: Mapping[str, Any]
    intervals: IntervalCounts
    created_at: datetime
    finished_at: datetime | None


@dataclass(frozen=True, slots=True)
class IntervalView:
    """An interval of a backfill. `position` counts from 1 in the order of the runs; `tries` runs were made for it."""

    position: int
    start: datetime
    end: datetime
    state: str
    reason: str | None
    tries: int
    run: int | None
    run_status: str | None


@dataclass(frozen=True, slots=True)
class PlannedIntervalView:
    """What a backfill would do about an interval: run it, or leave it out for a reason."""

    position: int
    start: datetime
    end: datetime
    runs: bool
    reason: str | None


def backfill_view(stored: StoredBackfill) -> BackfillView:
    """A stored backfill as people see it."""
    return BackfillView(
        id=stored.id,
        project=stored.project,
        pipeline=stored.pipeline,
        name=stored.name,
        status=stored.status,
        reason=stored.reason,
        start=stored.start_at,
        end=stored.end_at,
        interval=stored.every,
        timezone=stored.timezone,
        reprocess=stored.reprocess,
        order=stored.run_order,
        concurrency=stored.concurrency,
        pace=stored.pace,
        priority=stored.priority,
        variables=stored.variables,
        intervals=IntervalCounts(
            stored.waiting, stored.running, stored.completed, stored.failed, stored.left_out, stored.dropped
        ),
        created_at=stored.created_at,
        finished_at=stored.finished_at,
    )


def interval_view(stored: StoredInterval) -> IntervalView:
    """A stored interval as people see it."""
    return IntervalView(
        stored.position,
        stored.start_at,
        stored.end_at,
        stored.state,
        stored.reason,
        stored.tries,
        stored.run_id,
        stored.run_status,
    )


def planned_views(planned: Sequence[PlannedInterval], *, after: int = 0) -> list[PlannedIntervalView]:
    """A part of a plan as people see it, in its order, beyond position `after`."""
    return [
        PlannedIntervalView(position, item.interval.start, item.interval.end, item.wanted, item.reason)
        for position, item in enumerate(planned, after + 1)
    ]
