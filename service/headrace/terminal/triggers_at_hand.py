"""Finds the trigger that a command names: in the project's files, then among those that live in its database."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from headrace.domain.triggers import Trigger, TriggerStatus, trigger_from_json
from headrace.project.faults import ProjectFault
from headrace.project.reading import Project, read_project
from headrace.project.triggers import BrokenTrigger, read_triggers
from headrace.service import open_headrace
from headrace.store.database import Database, has_database
from headrace.store.triggers import TriggerRow, live_api_triggers
from headrace.triggers.naming import fitting, unknown

Readable = Trigger | BrokenTrigger


@dataclass(frozen=True, slots=True)
class FoundTrigger:
    """A trigger that a command names; `enabled_at` only where the database alone tells it."""

    trigger: Trigger
    enabled_at: datetime | None = None


async def trigger_at_hand(folder: Path, name: str, environ: Mapping[str, str] = os.environ) -> FoundTrigger:
    """The trigger that `name`, or `pipeline/name`, names; the database is opened only where no file has it.

    Raises UnknownTrigger, and ProjectFault for a broken one.
    """
    project = _project(folder)
    written = list(written_triggers(project))
    found = fitting(name, written)
    if found is not None:
        return FoundTrigger(_whole(found, name))
    if not has_database(project.root, environ):
        raise unknown(name, written)
    async with open_headrace(project.root, drive=False) as headrace:
        return _of_row(name, written, await live_api_triggers(headrace.database, headrace.project_id))


async def named_trigger(project: Project, database: Database, project_id: int, name: str) -> FoundTrigger:
    """The same, in a database that is open already."""
    written = list(written_triggers(project))
    found = fitting(name, written)
    if found is not None:
        return FoundTrigger(_whole(found, name))
    return _of_row(name, written, await live_api_triggers(database, project_id))


def _project(folder: Path) -> Project:
    return read_project(folder.resolve())


def _of_row(name: str, written: Iterable[Readable], rows: Iterable[TriggerRow]) -> FoundTrigger:
    rows = list(rows)
    row = fitting(name, rows)
    if row is None:
        raise unknown(name, [*written, *rows])
    return FoundTrigger(
        trigger_from_json(row.definition), row.enabled_at if row.status == TriggerStatus.ACTIVE else None
    )


def _whole(found: Readable, name: str) -> Trigger:
    if isinstance(found, BrokenTrigger):
        raise ProjectFault(f"The trigger {name}", found.faults)
    return found


def written_triggers(project: Project) -> Iterator[Readable]:
    """The triggers of a project's files, broken ones too."""
    for uuid in project.pipeline_uuids():
        reading = read_triggers(project.root, uuid, project.environ)
        yield from reading.triggers
        yield from reading.broken
