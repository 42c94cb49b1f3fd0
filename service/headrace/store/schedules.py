"""Schedules in the database: how far each has come, which slots are being made up for, how long runs took."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from headrace.store.database import Database
from headrace.store.queries import QUERIES

STATEMENT_SECONDS = 30.0

Source = tuple[int, str]
"""A project's id and the source of a schedule's slots in it."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a schedule has come. `counts_from` is when its slots were last decided anew."""

    trigger_id: int
    enabled_at: datetime
    counts_from: datetime | None
    last_slot: datetime | None


@dataclass(frozen=True, slots=True)
class CatchingUp:
    """A schedule's slots that are to be made up for: those after `slots_after`, up to `slots_until`."""

    project_id: int
    source: str
    slots_after: datetime
    slots_until: datetime


@dataclass(frozen=True, slots=True)
class IdleTrigger:
    """A trigger without a run under way; `seconds_ago` is when its last event came."""

    trigger_id: int
    last_event: int
    made_run: bool
    seconds_ago: float


async def keep_patterns(database: Database, patterns: Mapping[Source, str], now: datetime) -> None:
    """Record what decides the slots of schedules; those for which it changed count from `now`."""
    sources = sorted(patterns)
    texts = [patterns[source] for source in sources]
    await database.execute(QUERIES["keep_schedule_patterns"], *_columns(sources), texts, now)


async def progress_of(database: Database, triggers: Sequence[int]) -> dict[int, Progress]:
    """How far the schedules of triggers have come, by the triggers' ids."""
    rows = await database.fetch(QUERIES["schedule_progress"], list(triggers))
    return {row["trigger_id"]: Progress(**row) for row in rows}


async def catching_up_of(database: Database, sources: Sequence[Source]) -> dict[Source, CatchingUp]:
    """Which slots of some schedules are still to be made up for."""
    rows = await database.fetch(QUERIES["catching_up_of"], *_columns(sources))
    return {(row["project_id"], row["source"]): CatchingUp(**row) for row in rows}


async def progress_of_trigger(database: Database, project: int, pipeline: str, name: str) -> Progress | None:
    """How far the schedule of a trigger has come; None for one that no service has seen yet."""
    row = await database.fetchrow(QUERIES["schedule_progress_by_name"], project, pipeline, name)
    return None if row is None else Progress(**row)


async def begin_catching_up(database: Database, new: CatchingUp, floor: datetime) -> None:
    """Have slots made up for, together with those that already are; none up to `floor`."""
    async with database.transaction() as connection:
        source = (new.project_id, new.source)
        await connection.execute(QUERIES["begin_catching_up"], *source, new.slots_after, new.slots_until, floor)
        await connection.execute(QUERIES["note_passed_slot"], *source, new.slots_until)


async def catching_up_due_in(database: Database, sources: Sequence[Source]) -> float | None:
    """Seconds until some schedule has a slot to be made up for; None where none has."""
    seconds = await database.fetchval(QUERIES["catching_up_due_in"], *_columns(sources))
    return None if seconds is None else float(seconds)


async def take_catching_up(connection: Any, sources: Sequence[Source]) -> CatchingUp | None:
    """A schedule whose next slot is to be made up for now, locked until the caller's transaction ends."""
    row = await connection.fetchrow(QUERIES["take_catching_up"], *_columns(sources), timeout=STATEMENT_SECONDS)
    return None if row is None else CatchingUp(**row)


async def go_on_catching_up(connection: Any, source: Source, slots_after: datetime, pace: float) -> None:
    """Note how far a schedule's slots are made up for; the next one is due in `pace` seconds."""
    await connection.execute(QUERIES["go_on_catching_up"], *source, slots_after, pace, timeout=STATEMENT_SECONDS)


async def drop_catching_up(connection: Any, sources: Sequence[Source]) -> None:
    """Make up for no more slots of these schedules. The database itself will do for a connection."""
    await connection.execute(QUERIES["drop_catching_up"], *_columns(sources))


async def idle_triggers(database: Database, triggers: Sequence[int]) -> list[IdleTrigger]:
    """Those of some triggers that have neither a run nor a batch under way."""
    rows = await database.fetch(QUERIES["always_on_without_run"], list(triggers))
    return [IdleTrigger(**row) for row in rows]


async def recent_runtimes(database: Database, triggers: Sequence[int]) -> dict[int, list[float]]:
    """Seconds that the last completed runs of each trigger took, the newest first."""
    found: dict[int, list[float]] = {}
    for row in await database.fetch(QUERIES["recent_runtimes"], list(triggers)):
        found.setdefault(row["trigger_id"], []).append(row["seconds"])
    return found


def _columns(sources: Sequence[Source]) -> tuple[list[int], list[str]]:
    return [project for project, _ in sources], [source for _, source in sources]
