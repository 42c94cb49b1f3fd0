"""Schedules as values: which slots a trigger wants, and what to do where the clock or the service left some out."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class Gap(StrEnum):
    """What becomes of a slot at a local time that the clocks skip in spring."""

    SKIP = "skip"
    """It is left out."""
    SHIFT = "shift"
    """It comes at the moment of the change, when the skipped hour would have begun."""


class Fold(StrEnum):
    """What becomes of a slot at a local time that comes twice in autumn."""

    FIRST = "first"
    """It comes at the first of the two."""
    SECOND = "second"
    """It comes at the second of the two."""
    BOTH = "both"
    """It comes twice."""


class CatchUp(StrEnum):
    """Which of the slots that passed while no service ran are made up for."""

    NONE = "none"
    """None of them."""
    LATEST = "latest"
    """The last one."""
    ALL = "all"
    """Each of them, up to a bound, at a pace."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """When a trigger is due. Every expression counts; slots that two of them share are one."""

    expressions: tuple[str, ...]
    """Cron of five or six fields, `@daily` and the like, or `every 90 seconds`."""
    timezone: str = "UTC"
    gap: Gap = Gap.SHIFT
    fold: Fold = Fold.FIRST
    jitter: float = 0.0
    """Seconds at most by which a slot's start is spread; the slot itself stays."""
    start: datetime | None = None
    end: datetime | None = None
    exclusions: tuple[str, ...] = ()
    """Cron expressions and dates whose slots are left out."""
    catch_up: CatchUp = CatchUp.LATEST
    most_caught_up: int = 100
    """With catch_up all: the newest so many."""
    catch_up_pace: float = 0.0
    """With catch_up all: seconds between two made-up slots."""
    landing_time: bool = False
    create_initial_run: bool = False
