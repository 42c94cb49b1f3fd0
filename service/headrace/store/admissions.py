"""Admissions of runs through their gates, in the database."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from headrace.domain.limits import Admissions, Candidate, Gate
from headrace.store.database import Database
from headrace.store.queries import QUERIES

STATEMENT_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class CrowdedGate:
    """A gate at which runs wait. `cap` is the one in force (None for no limit); the rest is of the next run there."""

    name: str
    pipeline: str
    trigger_id: int | None
    cap: int | None


@dataclass(frozen=True, slots=True)
class PassedRun:
    """An active run that passed a gate."""

    id: int
    status: str
    pipeline: str
    started_at: datetime | None


async def some_run_waits(database: Database, project: int, only: Sequence[int] | None) -> bool:
    """Whether a project has a run (of those in `only`, where given) whose gates nobody looked at yet."""
    return bool(await database.fetchval(QUERIES["some_run_waits_for_admission"], project, only))


async def lock_admissions(connection: Any, project: int) -> None:
    """Keep others from admitting runs of a project until the caller's transaction ends."""
    await connection.execute(QUERIES["lock_admissions"], project, timeout=STATEMENT_SECONDS)


async def runs_to_admit(connection: Any, project: int, only: Sequence[int] | None, most: int) -> list[Candidate]:
    """Runs that wait for admission, in their order, locked for the caller's transaction."""
    rows = await connection.fetch(QUERIES["runs_to_admit"], project, only, most, timeout=STATEMENT_SECONDS)
    return [Candidate(row["id"], gates_from(row["gates"], row["gate_caps"])) for row in rows]


def gates_from(names: Sequence[str], caps: Sequence[int]) -> tuple[Gate, ...]:
    """Gates as a run's row has them."""
    return tuple(Gate(name, cap) for name, cap in zip(names, caps, strict=True))


async def active_in_gates(connection: Any, gates: Sequence[str]) -> dict[str, int]:
    """How many active runs passed each gate; gates that none passed are left out."""
    rows = await connection.fetch(QUERIES["active_in_gates"], list(gates), timeout=STATEMENT_SECONDS)
    return {row["gate"]: row["active"] for row in rows}


async def record_admissions(connection: Any, decided: Admissions) -> None:
    """Record what was decided, in the caller's transaction."""
    await connection.execute(
        QUERIES["record_admissions"],
        [candidate.run for candidate in decided.admitted],
        list(decided.parked),
        list(decided.parked.values()),
        timeout=STATEMENT_SECONDS,
    )


async def unpark_runs(connection: Any, project: int) -> int:
    """Let the next runs at each gate with room be looked at again; how many there are."""
    return len(await connection.fetch(QUERIES["unpark_runs"], project, timeout=STATEMENT_SECONDS))


async def crowded_gates(database: Database, project: int) -> list[CrowdedGate]:
    """The gates that runs of a project wait at."""
    return [CrowdedGate(**row) for row in await database.fetch(QUERIES["crowded_gates"], project)]


async def keep_caps(database: Database, caps: Mapping[str, int | None]) -> None:
    """Record caps of gates, None for no limit, for all runs that were made before."""
    await database.execute(QUERIES["keep_caps"], list(caps), list(caps.values()))


async def cap_in_force(database: Database, run: int, gate: str) -> int | None:
    """The cap that counts for a run at one of its gates; None for no limit."""
    found = await database.fetchval(QUERIES["cap_in_force"], run, gate)
    return None if found is None else int(found)


async def passed_gate(database: Database, gate: str, most: int) -> list[PassedRun]:
    """Active runs that passed a gate, the oldest first."""
    return [PassedRun(**row) for row in await database.fetch(QUERIES["passed_gates"], gate, most)]


async def ahead_at_gate(database: Database, gate: str, run: int) -> int:
    """How many runs wait at a gate before `run`."""
    return int(await database.fetchval(QUERIES["ahead_at_gate"], gate, run))
