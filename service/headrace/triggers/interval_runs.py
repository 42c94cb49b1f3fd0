"""What the run of a backfill's interval gets: the event that it is made of, and its variables."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from headrace.domain.events import NewEvent
from headrace.domain.moments import revived
from headrace.domain.schedules import Schedule
from headrace.store.backfills import LockedBackfill, WaitingInterval
from headrace.triggers.book import KnownTrigger
from headrace.triggers.local_time import Slot
from headrace.triggers.matching import event_names, run_variables
from headrace.triggers.slots import Slots
from headrace.triggers.timing import interval_variables
from headrace.triggers.watching import slot_event


def event_of(backfill: LockedBackfill, interval: WaitingInterval, known: KnownTrigger | None) -> NewEvent:
    """The event that asks for an interval's run; `known` is the backfill's trigger. Raises TemplateError,
    UnusableVariable."""
    return NewEvent(
        backfill.project_id,
        f"backfill:{backfill.id}",
        "interval",
        f"{interval.position}~{interval.tries}" if interval.tries else str(interval.position),
        {"backfill": backfill.id, "start": interval.start_at.isoformat(), "end": interval.end_at.isoformat()},
        execution_date=interval.start_at,
        variables=_variables(backfill, interval, known),
    )


def _variables(backfill: LockedBackfill, interval: WaitingInterval, known: KnownTrigger | None) -> Mapping[str, Any]:
    told = interval_variables(interval.start_at, interval.end_at, _previous(interval))
    given = {name: revived(value) for name, value in backfill.variables.items()}
    if known is None or not backfill.of_slots:
        return {**given, **told}
    slot = slot_event(known, _slot(known, interval.start_at), told)
    made = run_variables(known.trigger, known.project.environ, event_names(slot), slot.payload, slot.variables)
    return {**given, **{name: revived(value) for name, value in made.items()}}


def _previous(interval: WaitingInterval) -> datetime:
    """Where the interval before began; those that were recorded without it are taken for evenly long."""
    return interval.previous_at or interval.start_at - (interval.end_at - interval.start_at)


def _slot(known: KnownTrigger, at: datetime) -> Slot:
    """The slot of a schedule at a moment; one of its own where the schedule has none there any more."""
    schedule = known.trigger.when
    assert isinstance(schedule, Schedule)  # noqa: S101 - only schedules have slots
    slots = Slots(schedule, at)
    found = slots.latest(at)
    return found if found is not None and found.at == at else slots.clock.slot_at(at)
