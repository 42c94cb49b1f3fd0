"""Tells what events wait for, at the moment of reading: their batch, their backfill, or their trigger itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from headrace.domain.events import Fate
from headrace.domain.newer import NewerRecord
from headrace.domain.triggers import Batch, TriggerStatus, trigger_from_json
from headrace.store.database import Database
from headrace.store.events import StoredFate, TriggerWait, fates_of, waits_of_triggers
from headrace.store.triggers import RETIRED


async def told_fates(database: Database, events: Sequence[int]) -> list[StoredFate]:
    """What became of some events, by event and trigger; those that wait say what for."""
    fates = await fates_of(database, events)
    waiting = {fate.trigger_id for fate in fates if fate.fate == Fate.WAITING and fate.trigger_id is not None}
    if not waiting:
        return fates
    waits = {wait.trigger_id: wait_of(wait) for wait in await waits_of_triggers(database, sorted(waiting))}
    return [_told(fate, waits.get(fate.trigger_id or 0)) for fate in fates]


def _told(fate: StoredFate, wait: str | None) -> StoredFate:
    return replace(fate, reason=wait) if fate.fate == Fate.WAITING and wait is not None else fate


def wait_of(wait: TriggerWait) -> str:
    """What the events of one trigger wait for."""
    if wait.status == TriggerStatus.BROKEN:
        return f"until its trigger is mended: {wait.reason}"
    if wait.status == TriggerStatus.INACTIVE:
        if wait.reason in RETIRED:
            return "for its trigger, which was removed: unless that comes back the event becomes a dead letter"
        return "until its trigger is active again"
    try:
        trigger = trigger_from_json(wait.definition)
    except NewerRecord as error:
        return f"for its trigger: {error.message}"
    if trigger.batch is not None:
        return _batch(trigger.batch, wait)
    return "for its backfill to be made" if trigger.backfill is not None else "for its run to be made"


def _batch(batch: Batch, wait: TriggerWait) -> str:
    count = f"{wait.waiting} of {batch.max_count}" if batch.max_count is not None else f"{wait.waiting} so far"
    due = wait.last_at + timedelta(seconds=batch.delay)
    if batch.max_wait is not None:
        due = min(due, wait.first_at + timedelta(seconds=batch.max_wait))
    if due <= wait.now or (batch.max_count is not None and wait.waiting >= batch.max_count):
        return f"for its batch: {count}, due now"
    return f"for its batch: {count}, until {_clock(due, wait.now)} UTC"


def _clock(moment: datetime, now: datetime) -> str:
    same_day = moment.astimezone(UTC).date() == now.astimezone(UTC).date()
    return f"{moment.astimezone(UTC):{'%H:%M:%S' if same_day else '%Y-%m-%d %H:%M:%S'}}"
