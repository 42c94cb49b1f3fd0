"""Backfills in the database: one row a backfill, one an interval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from headrace.domain.backfills import IntervalRun, IntervalStatus, PlannedInterval, Reprocess, Standing
from headrace.domain.newer import known_or_as_it_is
from headrace.domain.statuses import RunStatus
from headrace.store.database import Database
from headrace.store.queries import QUERIES

STATEMENT_SECONDS = 30.0
MOST_AT_ONCE = 2_000
"""Intervals that one statement records: more would keep the event loop from its turns while they are encoded."""


@dataclass(frozen=True, slots=True)
class NewBackfill:
    """A backfill that is about to be made; see the domain's Reprocess and Order."""

    project_id: int
    pipeline: str
    name: str
    start_at: datetime
    end_at: datetime
    every: str
    timezone: str
    reprocess: str
    run_order: str
    variables: Mapping[str, Any]
    concurrency: int
    pace: float
    """Seconds between two runs at least."""
    priority: int
    key: str | None = None
    """Two backfills of a project with the same one are one."""
    trigger_name: str | None = None
    """The trigger as whose runs its own are made."""
    of_slots: bool = False
    """Whether its intervals are slots of that trigger's schedule."""


@dataclass(frozen=True, slots=True)
class LockedBackfill:
    """A running backfill in a transaction of its own. `due_in` seconds may its next run be made."""

    id: int
    project_id: int
    pipeline: str
    name: str
    reprocess: Reprocess
    variables: Mapping[str, Any]
    concurrency: int
    pace: float
    priority: int
    trigger_name: str | None
    of_slots: bool
    due_in: float


@dataclass(frozen=True, slots=True)
class WaitingInterval:
    """An interval whose run is still to be made; `tries` were made before."""

    position: int
    start_at: datetime
    end_at: datetime
    previous_at: datetime | None
    tries: int


@dataclass(frozen=True, slots=True)
class StoredBackfill:
    """A backfill and what its intervals have come to."""

    id: int
    project_id: int
    project: str
    pipeline: str
    name: str
    start_at: datetime
    end_at: datetime
    every: str
    timezone: str
    reprocess: str
    run_order: str
    status: str
    reason: str | None
    variables: Mapping[str, Any]
    concurrency: int
    pace: float
    priority: int
    next_at: datetime
    created_at: datetime
    finished_at: datetime | None
    waiting: int
    running: int
    completed: int
    failed: int
    left_out: int
    dropped: int


@dataclass(frozen=True, slots=True)
class StoredInterval:
    """An interval of a backfill; `run_status` tells what its run has come to, `state` both: see IntervalState."""

    position: int
    start_at: datetime
    end_at: datetime
    status: str
    reason: str | None
    tries: int
    run_id: int | None
    run_status: str | None
    state: str


@dataclass(frozen=True, slots=True)
class LiveBackfills:
    """How many backfills there are of one status, and how many of their intervals wait."""

    backfills: int
    waiting: int


async def count_live_backfills(database: Database, projects: Sequence[int]) -> dict[str, LiveBackfills]:
    """The backfills of some projects that have not ended, by status."""
    rows = await database.fetch(QUERIES["count_live_backfills"], list(projects))
    return {row["status"]: LiveBackfills(row["backfills"], row["waiting"]) for row in rows}


async def interval_standings(
    connection: Any, project: int, pipeline: str, start: datetime, end: datetime
) -> dict[datetime, Standing]:
    """For each moment within bounds that runs of a pipeline are for, or will be: how it stands."""
    rows = await connection.fetch(
        QUERIES["interval_standings"], project, pipeline, start, end, timeout=STATEMENT_SECONDS
    )
    return {row["moment"]: Standing(known_or_as_it_is(RunStatus, row["status"]), row["backfill"]) for row in rows}


async def lock_planning(connection: Any, project: int) -> None:
    """Let nobody else make backfills of a project until the caller's transaction ends."""
    await connection.execute(QUERIES["lock_planning"], project, timeout=STATEMENT_SECONDS)


async def backfill_of_key(connection: Any, project: int, key: str) -> int | None:
    """The backfill that was made under a key before."""
    found = await connection.fetchval(QUERIES["backfill_of_key"], project, key, timeout=STATEMENT_SECONDS)
    return None if found is None else int(found)


async def create_backfill(connection: Any, new: NewBackfill, planned: Sequence[PlannedInterval]) -> int:
    """Record a backfill and its intervals, in their order; its id. One with nothing to run is completed at once."""
    backfill = await connection.fetchval(
        QUERIES["create_backfill"],
        new.project_id,
        new.pipeline,
        new.name,
        new.start_at,
        new.end_at,
        new.every,
        new.timezone,
        new.reprocess,
        new.run_order,
        new.variables,
        new.concurrency,
        new.pace,
        new.priority,
        new.key,
        new.trigger_name,
        new.of_slots,
        any(item.wanted for item in planned),
        timeout=STATEMENT_SECONDS,
    )
    for done in range(0, len(planned), MOST_AT_ONCE):
        await _add_intervals(connection, backfill, done, planned[done : done + MOST_AT_ONCE])
    return int(backfill)


async def _add_intervals(connection: Any, backfill: int, done: int, planned: Sequence[PlannedInterval]) -> None:
    await connection.execute(
        QUERIES["add_backfill_intervals"],
        backfill,
        done,
        [item.interval.start for item in planned],
        [item.interval.end for item in planned],
        [IntervalStatus.WAITING if item.wanted else IntervalStatus.LEFT_OUT for item in planned],
        [item.reason for item in planned],
        [item.interval.previous for item in planned],
        timeout=STATEMENT_SECONDS,
    )


async def live_backfills(database: Database, projects: Sequence[int]) -> list[int]:
    """Backfills of some projects that make runs."""
    return [row["id"] for row in await database.fetch(QUERIES["live_backfills"], list(projects))]


async def lock_backfill(connection: Any, backfill: int) -> LockedBackfill | None:
    """Take a running backfill for the caller's transaction; None while another service has it, or it runs no more."""
    row = await connection.fetchrow(QUERIES["lock_backfill"], backfill, timeout=STATEMENT_SECONDS)
    return None if row is None else LockedBackfill(**{**row, "reprocess": Reprocess(row["reprocess"])})


async def active_intervals(connection: Any, backfill: int) -> int:
    """How many runs of a backfill have not ended."""
    return int(await connection.fetchval(QUERIES["active_intervals"], backfill, timeout=STATEMENT_SECONDS))


async def waiting_intervals(connection: Any, backfill: int, most: int) -> list[WaitingInterval]:
    """The next intervals of a backfill."""
    rows = await connection.fetch(QUERIES["waiting_intervals"], backfill, most, timeout=STATEMENT_SECONDS)
    return [WaitingInterval(**row) for row in rows]


async def note_made_intervals(connection: Any, backfill: int, made: Mapping[int, int]) -> None:
    """Record the runs of intervals, position to run, and when the next may be made."""
    positions, runs = list(made), list(made.values())
    await connection.execute(QUERIES["note_made_intervals"], backfill, positions, runs, timeout=STATEMENT_SECONDS)


async def newest_runs_for(
    connection: Any, project: int, pipeline: str, moments: Sequence[datetime]
) -> dict[datetime, IntervalRun]:
    """For each of some moments that runs of a pipeline are for: the newest of them."""
    rows = await connection.fetch(
        QUERIES["newest_runs_for"], project, pipeline, list(moments), timeout=STATEMENT_SECONDS
    )
    return {row["execution_date"]: IntervalRun(row["id"], RunStatus(row["status"])) for row in rows}


async def end_backfill_if_done(connection: Any, backfill: int) -> str | None:
    """End a backfill none of whose intervals waits or runs; its last status, None where it goes on."""
    found = await connection.fetchval(QUERIES["end_backfill_if_done"], backfill, timeout=STATEMENT_SECONDS)
    return None if found is None else str(found)


async def leave_out_intervals(connection: Any, backfill: int, reasons: Mapping[int, str]) -> None:
    """Record that intervals that waited, position to why, are not run."""
    positions, told = list(reasons), list(reasons.values())
    await connection.execute(QUERIES["leave_out_intervals"], backfill, positions, told, timeout=STATEMENT_SECONDS)


async def put_off_backfill(connection: Any, backfill: int, reason: str, seconds: float) -> None:
    """Let a backfill that can make no run now try again later, the reason told."""
    await connection.execute(QUERIES["put_off_backfill"], backfill, reason, seconds, timeout=STATEMENT_SECONDS)


async def lock_intervals(connection: Any, project: int, pipeline: str) -> None:
    """Keep other backfills from making runs of a pipeline until the caller's transaction ends."""
    await connection.execute(QUERIES["lock_intervals"], project, pipeline, timeout=STATEMENT_SECONDS)


async def pause_backfill(database: Database, backfill: int) -> bool:
    """Let a backfill make no more runs for now; False for one that does not run."""
    return await database.fetchval(QUERIES["pause_backfill"], backfill) is not None


async def resume_backfill(database: Database, backfill: int) -> bool:
    """Let a paused backfill go on; False for one that is not paused."""
    return await database.fetchval(QUERIES["resume_backfill"], backfill) is not None


async def change_backfill(database: Database, backfill: int, concurrency: int | None, pace: float | None) -> bool:
    """Change how fast a backfill goes; False for one that has ended."""
    return await database.fetchval(QUERIES["change_backfill"], backfill, concurrency, pace) is not None


async def cancel_backfill(database: Database, backfill: int) -> bool:
    """End a backfill and ask for the cancel of its runs, in one step; False for one that has ended.

    It is held first: a statement that has to wait for the runs that a service makes just now would not see them.
    """
    async with database.transaction() as connection:
        await connection.execute(QUERIES["hold_backfill"], backfill, timeout=STATEMENT_SECONDS)
        return await connection.fetchval(QUERIES["cancel_backfill"], backfill, timeout=STATEMENT_SECONDS) is not None


async def retry_backfill(database: Database, backfill: int) -> int:
    """Let what did not complete in an ended backfill wait again; how many intervals that are."""
    return int(await database.fetchval(QUERIES["retry_backfill"], backfill) or 0)


async def stored_backfill(database: Database, backfill: int) -> StoredBackfill | None:
    """One backfill; None where there is none."""
    row = await database.fetchrow(QUERIES["backfills"], None, None, None, None, backfill, 1)
    return None if row is None else StoredBackfill(**row)


async def newest_backfills(
    database: Database,
    projects: Sequence[int],
    *,
    limit: int,
    before: int | None = None,
    pipeline: str | None = None,
    status: str | None = None,
) -> list[StoredBackfill]:
    """A page of some projects' backfills, newest first, with ids under `before`."""
    rows = await database.fetch(QUERIES["backfills"], list(projects), before, pipeline, status, None, limit)
    return [StoredBackfill(**row) for row in rows]


async def backfill_intervals(
    database: Database, backfill: int, *, limit: int, after: int = 0, state: str | None = None
) -> list[StoredInterval]:
    """A page of a backfill's intervals in their order, beyond position `after`."""
    rows = await database.fetch(QUERIES["backfill_intervals"], backfill, after, state, limit)
    return [StoredInterval(**row) for row in rows]
