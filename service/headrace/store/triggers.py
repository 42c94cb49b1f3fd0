"""Triggers in the database: those of files as their files have them, and those that were made by the API."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from headrace.store.database import Database
from headrace.store.queries import QUERIES


@dataclass(frozen=True, slots=True)
class TriggerRow:
    """A trigger as recorded."""

    id: int
    pipeline: str
    name: str
    kind: str
    origin: str
    source: str
    status: str
    reason: str | None
    definition: Mapping[str, Any]
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class FileTrigger:
    """A trigger as its file has it now."""

    pipeline: str
    name: str
    kind: str
    source: str
    status: str
    reason: str | None
    definition: Mapping[str, Any]


async def keep_triggers(database: Database, project: int, triggers: Sequence[FileTrigger]) -> None:
    """Make the file-made triggers of a project those that its files name, in one transaction."""
    async with database.transaction() as connection:
        await connection.execute(
            QUERIES["keep_triggers"],
            project,
            [trigger.pipeline for trigger in triggers],
            [trigger.name for trigger in triggers],
            [trigger.kind for trigger in triggers],
            [trigger.source for trigger in triggers],
            [trigger.status for trigger in triggers],
            [trigger.reason for trigger in triggers],
            [trigger.definition for trigger in triggers],
        )
        await connection.execute(
            QUERIES["retire_triggers"],
            project,
            [trigger.pipeline for trigger in triggers],
            [trigger.name for trigger in triggers],
            "its file no longer names it",
        )


async def triggers_of(database: Database, project: int) -> list[TriggerRow]:
    """Every trigger of a project, by pipeline and name."""
    return [TriggerRow(**row) for row in await database.fetch(QUERIES["triggers_of"], project)]


async def triggers_changed_at(database: Database, project: int) -> tuple[int, datetime | None]:
    """How many triggers a project has, and when one of them last changed."""
    row = await database.fetchrow(QUERIES["triggers_changed_at"], project)
    return row["triggers"], row["changed_at"]


async def keep_api_trigger(database: Database, project: int, trigger: FileTrigger) -> int | None:
    """Make or change a trigger that lives in the database; None where a file has one of this name."""
    found = await database.fetchval(
        QUERIES["keep_api_trigger"],
        project,
        trigger.pipeline,
        trigger.name,
        trigger.kind,
        trigger.source,
        trigger.status,
        trigger.definition,
    )
    return None if found is None else int(found)
