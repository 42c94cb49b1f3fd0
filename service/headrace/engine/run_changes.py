"""Reads which runs have changed their status, in an order that can be taken up again, and leaves none out.

Each run has the number of the transaction that changed it last. Numbers are given before their transactions commit, so
that a lower one may be seen after a higher one. Therefore a reader goes on from the first transaction that had not
ended when it looked, and asks of each change whether the snapshot of that look had seen it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from headrace.engine.reading import summary_of
from headrace.engine.views import RunSummary
from headrace.store.database import Database
from headrace.store.queries import QUERIES


@dataclass(frozen=True, slots=True, order=True)
class RunPlace:
    """A place in the order in which runs change: a transaction, and a run among those that it changed."""

    transaction: int
    run: int = 0


@dataclass(frozen=True, slots=True)
class ChangedRun:
    """A run as its last change left it, and that change's place."""

    run: RunSummary
    place: RunPlace


@dataclass(frozen=True, slots=True)
class RunChanges:
    """Changes that one snapshot sees. All transactions before `horizon` had ended by then."""

    snapshot: str
    horizon: int
    changed: tuple[ChangedRun, ...] = ()


@dataclass(frozen=True, slots=True)
class Horizon:
    """A moment in the order of transactions: `transaction` is the first that had not ended, `next` the next one."""

    snapshot: str
    transaction: int
    next: int


async def changed_runs(
    database: Database, projects: Sequence[int], after: RunPlace, seen: str, *, pipeline: str | None, limit: int
) -> RunChanges:
    """Runs that changed beyond a place, in the order of their transactions, save what a snapshot (`seen`) had seen."""
    rows = await database.fetch(
        QUERIES["changed_runs"], list(projects), after.transaction, after.run, seen or None, pipeline, limit
    )
    changed = (ChangedRun(summary_of(row), RunPlace(row["changed"], row["id"])) for row in rows if row["id"])
    return RunChanges(rows[0]["snapshot"], rows[0]["horizon"], tuple(changed))


async def horizon_now(database: Database) -> Horizon:
    """This moment."""
    row = await database.fetchrow(QUERIES["run_changes_horizon"])
    return Horizon(row["snapshot"], row["horizon"], row["next"])


async def are_beyond(database: Database, place: RunPlace, number: int) -> bool:
    """Whether more than `number` runs changed beyond a place."""
    return bool(await database.fetchval(QUERIES["run_changes_beyond"], place.transaction, place.run, number))
