"""Runs that ended and wait to become events."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from headrace.store.queries import QUERIES

STATEMENT_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class EndedRun:
    """A run that has ended, as an event tells of it."""

    id: int
    project_id: int
    pipeline: str
    status: str
    reason: str | None
    variables: Mapping[str, Any]
    execution_date: datetime
    trigger_id: int | None
    started_at: datetime | None
    finished_at: datetime


async def take_ended_runs(
    connection: Any, projects: Sequence[int], most: int, *, without: Sequence[tuple[int, str]] = ()
) -> list[EndedRun]:
    """Ended runs of these projects that are no events yet, locked until the caller's transaction ends.

    Those of the pipelines `without`, each named with its project, are left.
    """
    left = [f"{project}/{pipeline}" for project, pipeline in without]
    rows = await connection.fetch(QUERIES["take_ended_runs"], list(projects), most, left, timeout=STATEMENT_SECONDS)
    return [EndedRun(**row) for row in rows]


async def drop_ended_runs(connection: Any, runs: Sequence[int]) -> None:
    """Forget ended runs that are events now."""
    await connection.execute(QUERIES["drop_ended_runs"], list(runs), timeout=STATEMENT_SECONDS)
