"""Schedules as values: which slots a trigger wants, and what to do where the clock or the service left some out."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from headrace.domain.expressions import Word, word_of


class Gap(StrEnum):
    """What becomes of a slot at a local time that the clocks skip in spring."""

    SKIP = "skip"
    """It is left out."""
    SHIFT = "shift"
    """It moves on by as much as the clocks do, as if they had not been changed: 02:30 becomes 03:30."""


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
    """When a trigger is due. Every expression counts; slots that two of them share are one.

    An expression is cron of five fields, or of six with the seconds first; one of Mage's words, such as `@daily`; or
    an interval, such as `every 90 seconds`, counted from `start`, else from 1970, whatever the clocks do.
    """

    expressions: tuple[str, ...]
    timezone: str = "UTC"
    """The IANA name of the zone in which expressions and exclusions are meant."""
    gap: Gap = Gap.SHIFT
    fold: Fold | None = None
    """None: both for an expression that comes in every hour, so that it never pauses for one; first for all others."""
    jitter: float = 0.0
    """Seconds at most by which a slot's start is spread, never beyond the next slot; the slot itself stays."""
    start: datetime | None = None
    """No slot before it; with landing time, the time of day, week or month by which runs are to be done."""
    end: datetime | None = None
    """No slot after it."""
    exclusions: tuple[str, ...] = ()
    """Days (2026-12-25), ranges of them (2026-12-24/2027-01-01), the same of each year (12-24/01-02), or cron of five
    fields, of which every minute is left out."""
    catch_up: CatchUp = CatchUp.LATEST
    most_caught_up: int = 100
    """With catch_up all: the newest so many."""
    catch_up_pace: float = 0.0
    """With catch_up all: seconds between two made-up slots."""
    landing_time: bool = False
    """Slots are when runs are to be done: they start earlier, by as long as the last runs took."""
    create_initial_run: bool = False
    """The slot before the trigger was enabled is made at once."""
    enabled_at: datetime | None = None
    """Since when slots count; None for since the trigger was first seen active."""

    def has(self, word: Word) -> bool:
        """Whether one of the expressions is this word."""
        return any(word_of(expression) is word for expression in self.expressions)

    @property
    def pattern(self) -> str:
        """What decides which slots there are, as a text: where it changes, slots count anew."""
        start = "" if self.start is None else self.start.isoformat()
        parts = (*self.expressions, self.timezone, self.gap, self.fold or "", *self.exclusions, start)
        return " | ".join((*parts, "landing" if self.landing_time else ""))


def spread(source: str, key: str, most: float) -> float:
    """Seconds from 0 to below `most` by which a slot starts later: the same for all services that ask."""
    digest = hashlib.sha256(f"{source}\n{key}".encode()).digest()
    return most * int.from_bytes(digest[:6], "big") / 2**48
