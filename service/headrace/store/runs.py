"""Runs in the database: creating, claiming, stepping, and giving them back. Knows nothing of how they are driven."""

from __future__ import annotations

import builtins
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import asyncpg

from headrace.domain.limits import Gate
from headrace.store.database import Database
from headrace.store.errors import OutputsRemoved
from headrace.store.queries import QUERIES

STATEMENT_SECONDS = 30.0
"""No statement of this module may take longer; a stuck server shows as an error and not as silence."""


@dataclass(frozen=True, slots=True)
class NewRun:
    """What a run is made of; `kept` maps blocks that count as completed already to the run that has their outputs."""

    project_id: int
    pipeline: str
    version: str
    definition: bytes
    """JSON text."""
    blocks: tuple[str, ...]
    variables: Mapping[str, Any]
    kept: Mapping[str, int]
    key: str
    """Of the request that makes it: the same request, made again, is no second run."""
    retry_of: int | None = None
    priority: int = 0
    execution_date: datetime | None = None
    gates: tuple[Gate, ...] = ()


@dataclass(frozen=True, slots=True)
class ClaimedRun:
    """A run that this service holds, under fencing token `fence`; `step` counts its recorded steps."""

    id: int
    pipeline: str
    version: str
    status: str
    variables: Mapping[str, Any]
    fence: int
    step: int
    ending: str | None
    cancel_requested: bool
    execution_date: datetime
    started_at: datetime | None
    created_at: datetime
    gated: bool = False
    """Whether its end makes room for others at a gate."""
    kept: Sequence[str] = ()
    """Blocks that an earlier run completed; before the first step, all the others are in their first state."""


@dataclass(frozen=True, slots=True)
class Claimant:
    """A service that takes up to `room` new runs of a project in the statement that makes them."""

    project_id: int
    service: UUID
    room: int


class BlockMove(NamedTuple):
    """The new state of one block run: a headrace.recorded_move without its run."""

    block: str
    status: str
    attempt: int
    failures: int
    waiting: bool
    callbacks_due: bool
    due: datetime | None
    reason: str | None
    error: Mapping[str, Any] | None
    worker_pid: int | None


class EndedAttempt(NamedTuple):
    """One attempt that ended: a headrace.recorded_attempt without its run."""

    block: str
    number: int
    outcome: str
    error: Mapping[str, Any] | None
    worker_pid: int | None
    started_at: datetime | None


class NewOutput(NamedTuple):
    """A headrace.recorded_output without its run: its bytes in `content`, or in a blob that is stored already."""

    block: str
    position: int
    attempt: int
    codec: str
    bytes: int
    rows: int | None
    content: builtins.bytes | None
    blob: UUID | None
    preview: builtins.bytes
    """JSON text."""


@dataclass(frozen=True, slots=True)
class RunStep:
    """Everything that changes in one run at once. Taken only if the run is held under `fence` and is at `step - 1`."""

    run: int
    fence: int
    step: int
    status: str | None
    """The run's own, with its `ending` and `reason`; None where these stay as they are."""
    ending: str | None
    reason: str | None
    moves: tuple[BlockMove, ...]
    attempts: tuple[EndedAttempt, ...]
    outputs: tuple[NewOutput, ...]


@dataclass(frozen=True, slots=True)
class DrivenRun:
    """What the database says of a run that a service drives; `fence` is the token that counts."""

    id: int
    fence: int
    cancel_requested: bool


async def keep_project(database: Database, path: str, name: str) -> int:
    """The id of the project in folder `path`, recorded on first sight."""
    return int(await database.fetchval(QUERIES["keep_project"], path, name))


async def keep_version(connection: Any, version: str, pipeline: str, definition: bytes, blocks: Sequence[str]) -> None:
    """Pin a pipeline's content, JSON text, under its hash, for ever; `blocks` in topological order."""
    await connection.execute(QUERIES["keep_version"], version, pipeline, definition, list(blocks))


async def create_run(database: Database, new: NewRun) -> int:
    """Record a run, its pinned pipeline and its blocks in one transaction, and give its id.

    Of one key there is one run: where it was made before, its id is given and nothing recorded. So this may be tried
    again when it is not known whether it was committed. Services see a run at their next look; `database.waker` makes
    them look at once.
    """
    try:
        return await _create_run(database, new)
    except asyncpg.UniqueViolationError:
        run = await database.fetchval(QUERIES["requested_run"], new.project_id, new.key)
        if run is None:
            raise
        return int(run)


async def _create_run(database: Database, new: NewRun) -> int:
    async with database.transaction() as connection:
        await keep_version(connection, new.version, new.pipeline, new.definition, new.blocks)
        run = await connection.fetchval(
            QUERIES["create_run"],
            new.project_id,
            new.pipeline,
            new.version,
            new.variables,
            new.retry_of,
            new.priority,
            new.blocks,
            [new.kept.get(block) for block in new.blocks],
            new.execution_date,
            [gate.name for gate in new.gates] or None,
            [gate.cap for gate in new.gates] or None,
            new.key,
        )
        if new.kept:
            await _copy_kept_outputs(connection, run, new.kept)
    return int(run)


async def _copy_kept_outputs(connection: Any, run: int, kept: Mapping[str, int]) -> None:
    if await connection.fetchval(QUERIES["lock_kept_blocks"], run) != len(kept):
        raise OutputsRemoved(
            f"Outputs that the run was to keep, of {', '.join(kept)}, were removed just now for their age or size.",
            remedy="Ask again: the blocks that made them run anew.",
        )
    await connection.execute(QUERIES["copy_kept_outputs"], run)


async def claim_runs(
    database: Database,
    service: UUID,
    project_id: int,
    *,
    limit: int,
    only: Sequence[int] | None = None,
    driven: Sequence[int] = (),
) -> list[ClaimedRun]:
    """Take up to `limit` runs that nobody drives (of those in `only`, where given), highest priority first.

    `driven` are those that the service drives already: what else the database says it holds is taken anew.
    """
    rows = await database.fetch(QUERIES["claim_runs"], service, project_id, limit, only, list(driven))
    return [ClaimedRun(**row) for row in rows]


@dataclass(frozen=True, slots=True)
class LateRuns:
    """Runs of a pipeline that have not ended though their triggers want them done by now."""

    project: str
    pipeline: str
    runs: int


async def runs_past_sla(database: Database, projects: Sequence[int]) -> list[LateRuns]:
    """How many runs are late of each pipeline of some projects whose triggers have an sla."""
    return [LateRuns(**row) for row in await database.fetch(QUERIES["runs_past_sla"], list(projects))]


async def step_statement(connection: Any) -> Any:
    """The statement with which `record_steps` writes, made ready on a connection that is kept for it."""
    # Planning the one large statement anew would cost more than carrying it out.
    await connection.execute("SET plan_cache_mode = force_generic_plan")
    return await connection.prepare(QUERIES["record_steps"])


async def record_steps(statement: Any, service: UUID, steps: Sequence[RunStep]) -> set[int]:
    """Commit the steps of several runs by one statement (see `step_statement`); the ids of those that were taken."""
    rows = await statement.fetch(
        service,
        [(step.run, step.fence, step.step, step.status, step.ending, step.reason) for step in steps],
        [(step.run, *move) for step in steps for move in step.moves],
        [(step.run, *attempt) for step in steps for attempt in step.attempts],
        [(step.run, *output) for step in steps for output in step.outputs],
        timeout=STATEMENT_SECONDS,
    )
    return {row["id"] for row in rows}


async def taken_steps(connection: Any, steps: Sequence[RunStep]) -> set[int]:
    """Ids of those runs whose step had been committed although its answer never came."""
    rows = await connection.fetch(QUERIES["steps_taken"], [step.run for step in steps], timeout=STATEMENT_SECONDS)
    found = {row["id"]: row for row in rows}
    return {
        step.run
        for step in steps
        if step.run in found and found[step.run]["fence"] == step.fence and found[step.run]["step"] == step.step
    }


async def renew_lease(connection: Any, service: UUID, host: str, pid: int, lease: float) -> float:
    """Make or prolong a service's lease, to `lease` seconds from now by the database's clock; what that clock shows."""
    return float(await connection.fetchval(QUERIES["renew_lease"], service, host, pid, lease))


async def runs_driven(database: Database, runs: Sequence[int]) -> list[DrivenRun]:
    """How some runs stand: under which fencing token, and whether they are to be cancelled."""
    return [DrivenRun(**row) for row in await database.fetch(QUERIES["runs_driven"], list(runs))]


async def fail_run(database: Database, service: UUID, run: ClaimedRun, reason: str) -> bool:
    """End a run as failed that cannot be driven on; False when the service holds it no more."""
    return await database.fetchval(QUERIES["fail_run"], run.id, run.fence, service, reason) is not None


async def give_back_run(database: Database, service: UUID, run: ClaimedRun) -> None:
    """Let go of one run that the service cannot drive, and change nothing else of it."""
    await database.execute(QUERIES["give_back_run"], run.id, run.fence, service)


async def release_runs(database: Database, service: UUID) -> None:
    """Give back every run of a service that stops, so that another may take them at once."""
    await database.execute(QUERIES["release_runs"], service)
