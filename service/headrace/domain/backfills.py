"""Backfills as values: which intervals are run again, in which order, and what each of them has come to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from headrace.domain.intervals import Interval
from headrace.domain.statuses import RunStatus


class Reprocess(StrEnum):
    """Which intervals of its range a backfill runs."""

    MISSING = "missing"
    """Those that no run was made for."""
    FAILED = "failed"
    """Those, and those whose newest run failed or was cancelled."""
    ALL = "all"
    """Every one, whatever its runs came to."""


class Order(StrEnum):
    """In which order a backfill makes its runs."""

    FORWARDS = "forwards"
    """The oldest interval first."""
    BACKWARDS = "backwards"
    """The newest interval first."""


class BackfillStatus(StrEnum):
    """Where a backfill stands."""

    RUNNING = "running"
    """It makes runs, at its pace and within its concurrency."""
    PAUSED = "paused"
    """It makes none; those that run go on."""
    COMPLETED = "completed"
    """Every interval that it ran is good."""
    FAILED = "failed"
    """Everything ended, and some of its runs failed."""
    CANCELLED = "cancelled"
    """Somebody ended it: nothing more is made, and what ran was cancelled."""


class IntervalStatus(StrEnum):
    """Where one interval of a backfill stands."""

    WAITING = "waiting"
    """Its run is still to be made."""
    MADE = "made"
    """Its run was made: the run tells the rest."""
    LEFT_OUT = "left_out"
    """The policy leaves it out: from the beginning, or because of a run that others made meanwhile."""
    CANCELLED = "cancelled"
    """The backfill was cancelled before its run was made."""


class IntervalState(StrEnum):
    """What one interval of a backfill has come to, its run included."""

    WAITING = "waiting"
    """Its run is still to be made."""
    RUNNING = "running"
    """Its run has not ended."""
    COMPLETED = "completed"
    """Its run is good."""
    FAILED = "failed"
    """Its run failed or was cancelled."""
    LEFT_OUT = "left_out"
    """The policy leaves it out."""
    CANCELLED = "cancelled"
    """The backfill was cancelled before its run was made."""
    MADE = "made"
    """Its run was made and is removed by now."""


@dataclass(frozen=True, slots=True)
class Standing:
    """How an interval stands: by its newest run, or by the backfill that is about to make the next one."""

    status: RunStatus | str
    backfill: int | None = None


@dataclass(frozen=True, slots=True)
class IntervalRun:
    """A run for an interval, and what it has come to."""

    id: int
    status: RunStatus


def left_out_now(newest: IntervalRun | None, reprocess: Reprocess, *, retried: bool) -> str | None:
    """Why an interval that waited is not run after all, its newest run being this one; None for one that is.

    `retried` is one whose own run did not complete: it is to run again, whatever else has failed since.
    """
    if newest is None or reprocess is Reprocess.ALL:
        return None
    failed = newest.status in (RunStatus.FAILED, RunStatus.CANCELLED)
    if failed and (retried or reprocess is Reprocess.FAILED):
        return None
    return f"run {newest.id}, made meanwhile, is {newest.status}"


@dataclass(frozen=True, slots=True)
class PlannedInterval:
    """An interval of a backfill and what becomes of it; `reason` tells why it is left out."""

    interval: Interval
    wanted: bool
    reason: str | None = None


def plan_intervals(
    found: Iterable[Interval], standings: Mapping[datetime, Standing], reprocess: Reprocess, order: Order
) -> list[PlannedInterval]:
    """What a backfill makes of the intervals of its range, in its order.

    `standings` tells, for the start of each interval that has runs or is about to get one, how it stands.
    """
    planned = [_planned(interval, standings.get(interval.start), reprocess) for interval in found]
    return planned if order is Order.FORWARDS else planned[::-1]


def _planned(interval: Interval, standing: Standing | None, reprocess: Reprocess) -> PlannedInterval:
    if standing is None or reprocess is Reprocess.ALL:
        return PlannedInterval(interval, True)
    if standing.backfill is not None:
        return PlannedInterval(interval, False, f"backfill {standing.backfill} is about to run it")
    if reprocess is Reprocess.FAILED and standing.status in (RunStatus.FAILED, RunStatus.CANCELLED):
        return PlannedInterval(interval, True)
    return PlannedInterval(interval, False, f"it has a run that is {standing.status}")
