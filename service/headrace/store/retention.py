"""Removes what is older than it is to be kept, in small steps that keep nobody waiting."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import asyncpg

from headrace.store.database import Database
from headrace.store.queries import QUERIES

LOCK_MILLISECONDS = 50
"""A partition is only made or dropped when its lock comes within this: writers wait behind the one who waits."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FOREVER = 1e11
"""Seconds: more than three thousand years."""


async def drop_old_outputs(
    database: Database, project: int, pipeline: str | None, others: Sequence[str], age: float, most: int
) -> int:
    """Remove outputs of up to `most` runs that ended `age` s ago: of `pipeline`, or of all but `others`; how many."""
    return await _count(database, "drop_old_outputs", project, pipeline, list(others), age, most)


async def drop_outputs_beyond(database: Database, project: int, pipeline: str | None, bound: int, most: int) -> int:
    """Remove outputs of up to `most` runs that ended first, while all together have more than `bound` bytes.

    Those of `pipeline`, or of the whole project; how many outputs it were.
    """
    return await _count(database, "drop_outputs_beyond", project, bound, most, pipeline)


async def drop_old_runs(
    database: Database, project: int, pipeline: str | None, others: Sequence[str], age: float, most: int
) -> int:
    """Remove up to `most` runs that ended `age` s ago, with all that belongs to them; how many it were."""
    rows = await database.fetch(QUERIES["old_runs"], project, pipeline, list(others), age, most)
    runs = [row["id"] for row in rows]
    return await _count(database, "drop_runs", runs) if runs else 0


async def drop_old_lines(
    database: Database, project: int, pipeline: str | None, others: Sequence[str], age: float, most: int
) -> int:
    """Remove the log lines of up to `most` runs that ended `age` s ago; how many it were."""
    return await _count(database, "drop_old_lines", project, pipeline, age, most, list(others))


@dataclass(frozen=True, slots=True)
class EventPlace:
    """A place in the order in which events came."""

    received_at: datetime
    id: int


async def drop_old_events(
    database: Database,
    project: int,
    age: float | None,
    own_ages: Mapping[str, float | None],
    after: EventPlace | None,
    most: int,
) -> EventPlace | None:
    """Look at up to `most` events that came after a place, and remove those that are old and wait for nothing.

    An event is kept for `age` s, or for as long as the pipelines want it whose triggers it met: `own_ages` are those of
    pipelines that say so themselves; None is for ever. The place of the last one looked at; None after the last of all.
    """
    ages = [_FOREVER if own is None else own for own in own_ages.values()]
    usual = _FOREVER if age is None else age
    row = await database.fetchrow(
        QUERIES["drop_old_events"],
        project,
        min([usual, *ages]),
        usual,
        list(own_ages),
        ages,
        _EPOCH if after is None else after.received_at,
        0 if after is None else after.id,
        most,
    )
    return None if row is None else EventPlace(row["received_at"], row["id"])


async def drop_log_days(database: Database, age: float) -> list[str]:
    """Drop whole days of log lines that are older than `age` s, where no other project has lines in them.

    A day whose lock does not come at once is left for the next time. Gives the names of what was dropped.
    """
    if await database.fetchval(QUERIES["projects_share_the_database"]):
        return []
    dropped: list[str] = []
    for row in await database.fetch(QUERIES["log_days"], age):
        try:
            async with database.transaction() as connection:
                await connection.execute(f"SET LOCAL lock_timeout = {LOCK_MILLISECONDS}")
                await connection.execute(f'DROP TABLE headrace."{row["name"]}"')
        except asyncpg.LockNotAvailableError:
            continue
        dropped.append(row["name"])
    return dropped


async def make_log_days(database: Database, days: int) -> int:
    """Make the partitions of the coming days; how many were new. Those whose lock does not come wait for next time."""
    try:
        async with database.transaction() as connection:
            await connection.execute(f"SET LOCAL lock_timeout = {LOCK_MILLISECONDS}")
            return int(await connection.fetchval(QUERIES["make_log_days"], days))
    except asyncpg.LockNotAvailableError:
        return 0


async def _count(database: Database, query: str, *arguments: object) -> int:
    """The number of rows that a statement removed."""
    async with database.connection() as connection:
        told: str = await connection.execute(QUERIES[query], *arguments)
    return int(told.rpartition(" ")[2])
