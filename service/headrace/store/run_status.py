"""How runs of a pipeline stand, for those who wait for them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from headrace.store.database import Database
from headrace.store.queries import QUERIES


@dataclass(frozen=True, slots=True)
class RunNear:
    """A run for some time; `status` is the run's, or that of the block that was asked for, None where it has none."""

    run: int
    status: str | None
    execution_date: datetime


@dataclass(frozen=True, slots=True)
class CompletedRun:
    """A run that completed."""

    run: int
    execution_date: datetime
    finished_at: datetime


async def run_near(
    database: Database, project_id: int, pipeline: str, date: datetime, seconds: float, block: str | None
) -> RunNear | None:
    """The newest run of a pipeline whose execution_date is `date` or lies up to `seconds` before it."""
    row = await database.fetchrow(QUERIES["run_near"], project_id, pipeline, date, seconds)
    if row is None:
        return None
    status = row["status"]
    if block is not None:
        status = await database.fetchval(QUERIES["block_status"], row["id"], block)
    return RunNear(row["id"], status, row["execution_date"])


async def completed_runs(
    database: Database, project_id: int, pipeline: str, since: datetime | None
) -> list[CompletedRun]:
    """The runs of a pipeline that completed, a thousand at most, from `since` on."""
    rows = await database.fetch(QUERIES["completed_runs"], project_id, pipeline, since)
    return [CompletedRun(row["id"], row["execution_date"], row["finished_at"]) for row in rows]
