"""Events in the database: accepting them together with the runs they make, batches, and reading them again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from headrace.domain.events import Accepted, Fate, FateOf, NewEvent
from headrace.domain.limits import Gate
from headrace.domain.newer import known_or_as_it_is
from headrace.domain.statuses import RunStatus
from headrace.domain.triggers import AtLimit
from headrace.store.database import Database, as_stored, json_item
from headrace.store.queries import QUERIES
from headrace.store.runs import Claimant, ClaimedRun
from headrace.store.triggers import RETIRED

STATEMENT_SECONDS = 30.0

ProjectRun = tuple[int, ClaimedRun]
"""A run that was claimed as it was made, and its project."""

EventKey = tuple[int, str, str]
"""Project, source and key: what tells one event from another."""


@dataclass(frozen=True, slots=True)
class TriggerLimit:
    """A limit of active runs that is looked at before an event's run is made: it leaves out, it does not make wait."""

    most: int
    at_limit: AtLimit


@dataclass(frozen=True, slots=True)
class PlannedFate:
    """What a trigger (None: the event itself) will make of a new event. A run needs pipeline, version and variables."""

    trigger: int | None
    fate: Fate
    reason: str | None = None
    dedup_key: str | None = None
    pipeline: str | None = None
    version: str | None = None
    variables: Mapping[str, Any] | None = None
    priority: int = 0
    execution_date: datetime | None = None
    gates: tuple[Gate, ...] = ()
    limit: TriggerLimit | None = None


@dataclass(frozen=True, slots=True)
class PlannedEvent:
    """An event on its way into the database, with what each trigger makes of it should it be new."""

    event: NewEvent
    fates: tuple[PlannedFate, ...] = ()
    variables: Mapping[str, Any] | None = None
    """The event's own variables as they are kept with it."""

    @property
    def key(self) -> EventKey:
        return key_of(self.event)


@dataclass(frozen=True, slots=True)
class WaitingBatch:
    """A trigger's events that wait to make a run together; times by the database's clock."""

    trigger_id: int
    waiting: int
    first_at: datetime
    last_at: datetime
    now: datetime


@dataclass(frozen=True, slots=True)
class WaitingEvent:
    """One event of a batch."""

    id: int
    key: str
    kind: str
    source: str
    payload: Any
    headers: Mapping[str, str]
    occurred_at: datetime


@dataclass(frozen=True, slots=True)
class WaitingBackfill:
    """An event that makes a backfill for a trigger."""

    trigger_id: int
    event: WaitingEvent


@dataclass(frozen=True, slots=True)
class LeftWaiting:
    """A trigger that gathers no events, and has some waiting; `removed_for` is None unless it was removed."""

    trigger_id: int
    removed_for: float | None


@dataclass(frozen=True, slots=True)
class BatchRun:
    """The run that a batch makes."""

    project_id: int
    pipeline: str
    version: str
    variables: Mapping[str, Any]
    priority: int
    trigger_id: int
    gates: tuple[Gate, ...] = ()


def key_of(event: NewEvent) -> EventKey:
    """What tells an event from all others."""
    return (event.project_id, event.source, event.key)


async def accept_events(
    connection: Any, planned: Sequence[PlannedEvent], claimants: Sequence[Claimant] = ()
) -> tuple[list[Accepted], list[ProjectRun]]:
    """Record events, each of another key, and make their runs: an answer for each, in order, and the runs claimed.

    One statement, committed by itself or with the caller's transaction. Those whose key was known change nothing and
    are answered with what was recorded first.
    """
    rows = await connection.fetch(
        QUERIES["accept_events"],
        *_event_columns(planned),
        *_fate_columns(planned),
        *_claimant_columns(claimants),
        [item.variables or None for item in planned],
        [item.event.execution_date for item in planned],
        timeout=STATEMENT_SECONDS,
    )
    found = _accepted(rows, is_new=True)
    known = [item.key for item in planned if item.key not in found]
    if known:
        found |= await _known(connection, known)
    return [found[item.key] for item in planned], _claimed(planned, rows)


def _claimed(planned: Sequence[PlannedEvent], rows: Sequence[Any]) -> list[ProjectRun]:
    claimed = {(row["project_id"], row["source"], row["key"], row["trigger_id"]): row for row in rows if row["claimed"]}
    return [
        (row["project_id"], _claimed_run(fate, row))
        for item in planned
        for fate in item.fates
        if (row := claimed.get((*item.key, fate.trigger))) is not None
    ]


def _claimed_run(fate: PlannedFate, row: Mapping[str, Any]) -> ClaimedRun:
    return ClaimedRun(
        id=row["run_id"],
        pipeline=fate.pipeline or "",
        version=fate.version or "",
        status=RunStatus.INITIAL,
        variables=as_stored(fate.variables),
        fence=1,
        step=0,
        ending=None,
        cancel_requested=False,
        execution_date=fate.execution_date or row["now"],
        started_at=None,
        created_at=row["now"],
    )


async def _known(connection: Any, keys: Sequence[EventKey]) -> dict[EventKey, Accepted]:
    columns = [list(column) for column in zip(*keys, strict=True)]
    rows = await connection.fetch(QUERIES["known_events"], *columns, timeout=STATEMENT_SECONDS)
    return _accepted(rows, is_new=False)


def _accepted(rows: Sequence[Any], *, is_new: bool) -> dict[EventKey, Accepted]:
    found: dict[EventKey, Accepted] = {}
    for row in rows:
        key = (row["project_id"], row["source"], row["key"])
        earlier = found.get(key)
        fates = () if earlier is None else earlier.fates
        if row["fate"] is not None:
            fates = (
                *fates,
                FateOf(row["trigger_id"], known_or_as_it_is(Fate, row["fate"]), row["run_id"], row["reason"]),
            )
        found[key] = Accepted(row["event_id"], is_new, fates)
    return found


def _event_columns(planned: Sequence[PlannedEvent]) -> list[list[Any]]:
    events = [item.event for item in planned]
    return [
        [event.project_id for event in events],
        [event.source for event in events],
        [event.kind for event in events],
        [event.key for event in events],
        [json_item(event.payload) for event in events],
        [dict(event.headers) for event in events],
        [event.body for event in events],
        [event.occurred_at for event in events],
        [event.replay_of for event in events],
    ]


def _fate_columns(planned: Sequence[PlannedEvent]) -> list[list[Any]]:
    pairs = [(item.event, fate) for item in planned for fate in item.fates]
    return [
        [event.project_id for event, _ in pairs],
        [event.source for event, _ in pairs],
        [event.key for event, _ in pairs],
        [fate.trigger for _, fate in pairs],
        [fate.fate for _, fate in pairs],
        [fate.reason for _, fate in pairs],
        [fate.dedup_key for _, fate in pairs],
        [fate.pipeline for _, fate in pairs],
        [fate.version for _, fate in pairs],
        [fate.variables for _, fate in pairs],
        [fate.priority for _, fate in pairs],
        [fate.execution_date for _, fate in pairs],
        [{gate.name: gate.cap for gate in fate.gates} or None for _, fate in pairs],
    ]


def _claimant_columns(claimants: Sequence[Claimant]) -> list[list[Any]]:
    return [
        [claimant.project_id for claimant in claimants],
        [claimant.service for claimant in claimants],
        [claimant.room for claimant in claimants],
    ]


async def lock_triggers(connection: Any, triggers: Sequence[int]) -> None:
    """Keep others from making runs for these triggers until the caller's transaction ends."""
    await connection.fetch(QUERIES["lock_triggers"], sorted(triggers), timeout=STATEMENT_SECONDS)


async def active_runs(connection: Any, triggers: Sequence[int]) -> dict[int, list[int]]:
    """The runs of triggers that have not ended, the oldest first, by trigger."""
    found: dict[int, list[int]] = {trigger: [] for trigger in triggers}
    rows = await connection.fetch(QUERIES["active_runs_of_triggers"], list(triggers), timeout=STATEMENT_SECONDS)
    for row in rows:
        found[row["trigger_id"]].append(row["id"])
    return found


async def cancel_runs(connection: Any, runs: Sequence[int]) -> None:
    """Ask for the cancel of runs; those that have ended stay as they are."""
    await connection.execute(QUERIES["cancel_runs"], list(runs), timeout=STATEMENT_SECONDS)


async def waiting_batches(connection: Any, triggers: Sequence[int]) -> list[WaitingBatch]:
    """For each of these triggers with events that wait: how many and since when."""
    rows = await connection.fetch(QUERIES["waiting_batches"], list(triggers), timeout=STATEMENT_SECONDS)
    return [WaitingBatch(**row) for row in rows]


async def lock_trigger_now(connection: Any, trigger: int) -> bool:
    """Take a trigger's lock for the caller's transaction; False while somebody else has it."""
    return await connection.fetchval(QUERIES["lock_trigger_now"], trigger, timeout=STATEMENT_SECONDS) is not None


async def waiting_events(connection: Any, trigger: int, most: int) -> list[WaitingEvent]:
    """The first `most` events that wait for a trigger's batch, locked for the caller's transaction."""
    rows = await connection.fetch(QUERIES["waiting_events"], trigger, most, timeout=STATEMENT_SECONDS)
    return [WaitingEvent(**row) for row in rows]


async def make_batch_run(connection: Any, new: BatchRun, events: Sequence[int]) -> int:
    """Make the one run of a batch and record it as the fate of each of its events."""
    return int(
        await connection.fetchval(
            QUERIES["make_batch_run"],
            new.project_id,
            new.pipeline,
            new.version,
            new.variables,
            new.priority,
            new.trigger_id,
            list(events),
            [gate.name for gate in new.gates] or None,
            [gate.cap for gate in new.gates] or None,
            timeout=STATEMENT_SECONDS,
        )
    )


async def left_waiting(database: Database, projects: Sequence[int], gathering: Sequence[int]) -> list[LeftWaiting]:
    """The triggers of some projects, but for those that gather events, for which events wait."""
    rows = await database.fetch(QUERIES["left_waiting"], list(projects), list(gathering), RETIRED)
    return [LeftWaiting(**row) for row in rows]


async def bury_left_waiting(connection: Any, trigger: int, reason: str) -> int:
    """Make dead letters of what waits for a trigger that is removed still; how many there were."""
    rows = await connection.fetch(QUERIES["bury_left_waiting"], trigger, RETIRED, reason, timeout=STATEMENT_SECONDS)
    return len(rows)


async def waiting_for_backfill(connection: Any, triggers: Sequence[int], most: int) -> list[WaitingBackfill]:
    """Events whose backfill is still to be made, locked for the caller's transaction."""
    rows = await connection.fetch(QUERIES["waiting_for_backfill"], list(triggers), most, timeout=STATEMENT_SECONDS)
    return [WaitingBackfill(trigger_id=trigger, event=WaitingEvent(**event)) for trigger, event in map(_parted, rows)]


def _parted(row: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
    event = dict(row)
    return event.pop("trigger_id"), event


async def end_waiting(connection: Any, trigger: int, events: Sequence[int], fate: Fate, reason: str) -> None:
    """Give events that waited a final fate that makes no run."""
    await connection.execute(QUERIES["end_waiting"], trigger, list(events), fate, reason, timeout=STATEMENT_SECONDS)


@dataclass(frozen=True, slots=True)
class EventSummary:
    """One line of a list of events."""

    id: int
    project_id: int
    source: str
    kind: str
    key: str
    occurred_at: datetime
    received_at: datetime
    replay_of: int | None


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """An event as it was accepted."""

    id: int
    project_id: int
    source: str
    kind: str
    key: str
    payload: Any
    headers: Mapping[str, str]
    body: bytes | None
    occurred_at: datetime
    received_at: datetime
    replay_of: int | None
    variables: Mapping[str, Any] | None
    execution_date: datetime | None


@dataclass(frozen=True, slots=True)
class StoredFate:
    """What became of an event for a trigger, which `pipeline` and `name` tell; both None for a manual start."""

    event_id: int
    trigger_id: int | None
    pipeline: str | None
    name: str | None
    fate: str
    reason: str | None
    run_id: int | None
    decided_at: datetime


@dataclass(frozen=True, slots=True)
class TriggerWait:
    """A trigger for which events wait: how many and since when, by the database's clock, and how it stands itself."""

    trigger_id: int
    status: str
    reason: str | None
    definition: Mapping[str, Any]
    waiting: int
    first_at: datetime
    last_at: datetime
    now: datetime


async def waits_of_triggers(database: Database, triggers: Sequence[int]) -> list[TriggerWait]:
    """What there is to tell of some triggers for which events wait."""
    return [TriggerWait(**row) for row in await database.fetch(QUERIES["waits_of_triggers"], list(triggers))]


NO_MATCH = "no match"
"""Stands among fates for events that have none."""


async def newest_events(
    database: Database,
    projects: Sequence[int],
    *,
    limit: int,
    before: int | None = None,
    source: str | None = None,
    fate: str | None = None,
) -> list[EventSummary]:
    """A page of some projects' events, newest first, with ids under `before`; `fate` may be NO_MATCH."""
    rows = await database.fetch(QUERIES["newest_events"], list(projects), before, source, fate, limit)
    return [EventSummary(**row) for row in rows]


async def stored_event(database: Database, event: int) -> StoredEvent | None:
    """One event, whole; None where there is none."""
    row = await database.fetchrow(QUERIES["event"], event)
    return None if row is None else StoredEvent(**row)


async def fates_of(database: Database, events: Sequence[int]) -> list[StoredFate]:
    """What became of some events, by event and trigger."""
    return [StoredFate(**row) for row in await database.fetch(QUERIES["fates_of_events"], list(events))]
