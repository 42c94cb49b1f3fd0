"""Admits runs through their gates, counted and granted in one transaction: services together keep every limit."""

from __future__ import annotations

from collections.abc import Sequence

from headrace.domain.limits import admit
from headrace.store.admissions import (
    active_in_gates,
    lock_admissions,
    record_admissions,
    runs_to_admit,
    some_run_waits,
    unpark_runs,
)
from headrace.store.database import Database

MOST_AT_ONCE = 200
MOST_ROUNDS = 5


async def admit_runs(database: Database, project: int, only: Sequence[int] | None = None) -> bool:
    """Admit what may start now, of the runs in `only` where those are given; whether any was admitted.

    Cheap where no run has gates.
    """
    admitted = False
    for _ in range(MOST_ROUNDS):
        if not await some_run_waits(database, project, only):
            break
        admitted |= await _admit_some(database, project, only)
    return admitted


async def unpark(database: Database, project: int) -> bool:
    """Have those looked at again that wait at a gate although there is room: its cap grew, or a wake was lost."""
    async with database.transaction() as connection:
        await lock_admissions(connection, project)
        return await unpark_runs(connection, project) > 0


async def _admit_some(database: Database, project: int, only: Sequence[int] | None) -> bool:
    async with database.transaction() as connection:
        await lock_admissions(connection, project)
        candidates = await runs_to_admit(connection, project, only, MOST_AT_ONCE)
        gates = {gate.name for candidate in candidates for gate in candidate.gates}
        decided = admit(candidates, await active_in_gates(connection, sorted(gates)))
        await record_admissions(connection, decided)
        if decided.parked:
            # One that went on to wait at another gate left room at its first one for those behind it.
            await unpark_runs(connection, project)
    return bool(decided.admitted)
