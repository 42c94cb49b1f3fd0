"""Triggers in the database: those of files as their files have them, and those that were made by the API."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Any

from headrace.store.database import Database
from headrace.store.queries import QUERIES

RETIRED_BY_FILE = "its file no longer names it"
RETIRED_BY_API = "it was removed"
RETIRED = [RETIRED_BY_FILE, RETIRED_BY_API]
"""Reasons of triggers that are inactive because they are no more."""
_NONE: Mapping[str, str] = MappingProxyType({})


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
    enabled_at: datetime
    """When it was last switched on."""


@dataclass(frozen=True, slots=True)
class GivenTrigger:
    """A trigger with its project and, where the API made it, the keys that it was given."""

    project_id: int
    row: TriggerRow
    given: Mapping[str, Any] | None


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


async def keep_triggers(
    database: Database, project: int, triggers: Sequence[FileTrigger], unread: Mapping[str, str] = _NONE
) -> None:
    """Make the file-made triggers of a project those that its files name, in one transaction.

    Those of the pipelines in `unread`, whose files cannot be read now, stay as they are, with the reason beside them.
    """
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
            RETIRED_BY_FILE,
            list(unread),
        )
        await connection.execute(QUERIES["tell_unread_triggers"], project, list(unread), list(unread.values()))


async def triggers_of(database: Database, project: int) -> list[TriggerRow]:
    """Every trigger of a project, by pipeline and name."""
    return [TriggerRow(**row) for row in await database.fetch(QUERIES["triggers_of"], project)]


async def live_api_triggers(database: Database, project: int) -> list[TriggerRow]:
    """The triggers of a project that live in the database, by pipeline and name, those left out that were removed."""
    rows = await triggers_of(database, project)
    return [row for row in rows if row.origin == "api" and row.reason != RETIRED_BY_API]


async def triggers_changed_at(database: Database, project: int) -> tuple[int, datetime | None]:
    """How many triggers a project has, and when one of them last changed."""
    row = await database.fetchrow(QUERIES["triggers_changed_at"], project)
    return row["triggers"], row["changed_at"]


async def keep_api_trigger(
    database: Database, project: int, trigger: FileTrigger, given: Mapping[str, Any] | None = None
) -> int | None:
    """Make or change a trigger that lives in the database, made of the keys `given`; None where a file has its name."""
    found = await database.fetchval(
        QUERIES["keep_api_trigger"],
        project,
        trigger.pipeline,
        trigger.name,
        trigger.kind,
        trigger.source,
        trigger.status,
        trigger.definition,
        given,
        RETIRED_BY_FILE,
    )
    return None if found is None else int(found)


async def retire_api_trigger(database: Database, trigger: int) -> bool:
    """Switch off a trigger that lives in the database for good; False where a file has it."""
    return await database.fetchval(QUERIES["retire_api_trigger"], trigger, RETIRED_BY_API) is not None


async def trigger_row(database: Database, trigger: int) -> GivenTrigger | None:
    """One trigger; None where there is none."""
    row = await database.fetchrow(QUERIES["trigger"], trigger)
    if row is None:
        return None
    found = dict(row)
    project, given = found.pop("project_id"), found.pop("given")
    return GivenTrigger(project, TriggerRow(**found), given)


async def given_triggers(database: Database, project: int) -> dict[str, list[Mapping[str, Any]]]:
    """The triggers of a project that live in the database, as they were given, by pipeline."""
    found: dict[str, list[Mapping[str, Any]]] = {}
    for row in await database.fetch(QUERIES["given_triggers"], project, RETIRED_BY_API):
        found.setdefault(row["pipeline"], []).append(row["given"])
    return found
