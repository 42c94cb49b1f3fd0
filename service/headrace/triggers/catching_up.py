"""Decides how a service goes on with a schedule it takes up: where its slots begin, and which ones are made up for."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from headrace.domain.schedules import CatchUp, Schedule
from headrace.store.schedules import Progress
from headrace.triggers.local_time import Slot
from headrace.triggers.slots import MICROSECOND
from headrace.triggers.timing import Timing

BEGINNING = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class MissedSlots:
    """Slots to be made up for one after the other: those after `after`, up to `until`; all are after `floor`."""

    after: datetime
    until: datetime
    floor: datetime


@dataclass(frozen=True, slots=True)
class Course:
    """How a service goes on: slots after `after` come when they are due, `at_once` those that are late already."""

    after: datetime
    at_once: tuple[Slot, ...] = ()
    missed: MissedSlots | None = None


def counts_since(schedule: Schedule, progress: Progress) -> datetime:
    """Since when the slots of a schedule count: its trigger was enabled, or its slots were decided anew."""
    enabled = schedule.enabled_at or progress.enabled_at
    return enabled if progress.counts_from is None else max(enabled, progress.counts_from)


def plan_course(timing: Timing, progress: Progress, now: datetime) -> Course:
    """The course of a schedule from now on, by its policy for what passed while no service ran."""
    decided = max(progress.last_slot or BEGINNING, counts_since(timing.schedule, progress) - MICROSECOND)
    passed = timing.last_started(now)
    at_once = _initial(timing, progress, now)
    if passed is None or passed.at <= decided:
        return Course(decided, at_once)
    match timing.schedule.catch_up:
        case CatchUp.NONE:
            return Course(passed.at, _distinct(at_once, _once(timing, decided, now)))
        case CatchUp.LATEST:
            before = passed.at - MICROSECOND
            return Course(before, _distinct(at_once, _once(timing, decided, before)))
        case CatchUp.ALL:
            return Course(passed.at, at_once, _missed(timing, decided, passed.at))


def _initial(timing: Timing, progress: Progress, now: datetime) -> tuple[Slot, ...]:
    """The slot of the period in which the trigger was enabled, where that is to be made and nothing came since."""
    if not timing.schedule.create_initial_run:
        return ()
    since, last = counts_since(timing.schedule, progress), progress.last_slot
    current = timing.slots.latest(now)
    if current is None or (last is not None and (last >= current.at or last >= since)):
        return ()
    return (current,)


def _once(timing: Timing, after: datetime, until: datetime) -> tuple[Slot, ...]:
    """The slot of `@once`, which no policy gives up, where it passed in between."""
    once = timing.slots.once
    return (once,) if once is not None and after < once.at <= until else ()


def _missed(timing: Timing, after: datetime, until: datetime) -> MissedSlots:
    """All slots in between; where there are more than the bound, the newest."""
    floor = until
    for _ in range(timing.schedule.most_caught_up):
        slot = timing.slots.latest(floor)
        if slot is None:
            return MissedSlots(after, until, BEGINNING)
        floor = slot.at - MICROSECOND
    return MissedSlots(max(after, floor), until, floor)


def _distinct(*several: tuple[Slot, ...]) -> tuple[Slot, ...]:
    return tuple({slot.key: slot for slots in several for slot in slots}.values())
