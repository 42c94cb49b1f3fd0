"""The triggers of the projects that a service serves, as their files and the database have them now."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import anyio

from headrace.domain.newer import REMEDY, NewerRecord, known
from headrace.domain.triggers import Trigger, TriggerKind, TriggerStatus, trigger_from_json, trigger_to_json
from headrace.project.reading import pipeline_uuids
from headrace.project.triggers import TriggerReading, read_triggers
from headrace.store.database import Database
from headrace.store.errors import DATABASE_AWAY
from headrace.store.triggers import FileTrigger, TriggerRow, keep_triggers, triggers_changed_at, triggers_of

log = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
"""How often files and database are looked at for changes."""

EMPTY_SECONDS = 10.0
"""How long a file may be empty before that counts as naming no trigger: editors empty a file and then write it."""

Stamps = tuple[tuple[str, int, int], ...]
"""Path, mtime in ns and size of every file of triggers."""
DatabaseState = tuple[int, datetime | None]


@dataclass(frozen=True)
class ServedProject:
    """A project that a service serves. `environ` is what its templates may read."""

    id: int
    root: Path
    environ: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class KnownTrigger:
    """An active trigger and its id in the database."""

    id: int
    project: ServedProject
    trigger: Trigger


@dataclass
class TriggerBook:
    """Follows triggers while a service runs; a change in a file or by the API counts within `LOOK_SECONDS`."""

    database: Database
    projects: Sequence[ServedProject]
    look_seconds: float = LOOK_SECONDS
    now: Callable[[], float] = time.time
    edition: int = 0
    """Grows with each change that was taken in."""
    batching: tuple[KnownTrigger, ...] = ()
    """The active triggers whose events make runs together."""
    backfilling: tuple[KnownTrigger, ...] = ()
    """The active triggers whose events make backfills."""
    _triggers: dict[tuple[int, str], tuple[KnownTrigger, ...]] = field(default_factory=dict)
    _newer: dict[tuple[int, str], str] = field(default_factory=dict)
    """Sources to which triggers listen that this version does not understand, and why."""
    _by_id: dict[int, KnownTrigger] = field(default_factory=dict)
    _stamps: dict[int, Stamps] = field(default_factory=dict)
    _states: dict[int, DatabaseState] = field(default_factory=dict)
    _rows: dict[int, list[TriggerRow]] = field(default_factory=dict)
    _changed: asyncio.Event = field(default_factory=asyncio.Event)
    _ready: asyncio.Event = field(default_factory=asyncio.Event)

    def listening_to(self, project_id: int, source: str) -> tuple[KnownTrigger, ...]:
        """The active triggers of a project that listen to a source."""
        return self._triggers.get((project_id, source), ())

    def require_known(self, project_id: int, source: str) -> None:
        """Raise NewerRecord where a trigger listens to a source that only a newer version understands.

        What it would miss here comes to that version later: senders try again, and what we find ourselves stays.
        """
        if (reason := self._newer.get((project_id, source))) is not None:
            raise NewerRecord(f"Events of {source} cannot be taken here: {reason}", remedy=REMEDY)

    def newer_sources(self, prefix: str) -> list[tuple[int, str]]:
        """Projects and the rest of those sources with a prefix to which a trigger of a newer version listens."""
        return [(project, source.removeprefix(prefix)) for project, source in self._newer if source.startswith(prefix)]

    def active(self) -> Iterable[KnownTrigger]:
        """Every active trigger, of all projects."""
        return self._by_id.values()

    def of_kind(self, kind: TriggerKind) -> tuple[KnownTrigger, ...]:
        """The active triggers of one kind, of all projects."""
        return tuple(known for known in self._by_id.values() if known.trigger.kind is kind)

    def by_id(self, trigger: int) -> KnownTrigger | None:
        """An active trigger."""
        return self._by_id.get(trigger)

    def recorded(self, project_id: int, pipeline: str, name: str) -> KnownTrigger | None:
        """A trigger by its name, an inactive one too; None for one that is not known or broken."""
        project = next(project for project in self.projects if project.id == project_id)
        for row in self.rows(project_id):
            if (row.pipeline, row.name) == (pipeline, name) and row.status != TriggerStatus.BROKEN:
                return KnownTrigger(row.id, project, trigger_from_json(row.definition))
        return None

    def environ(self, project_id: int) -> Mapping[str, str]:
        """What the templates of a project may read."""
        return next((project.environ for project in self.projects if project.id == project_id), {})

    def rows(self, project_id: int) -> list[TriggerRow]:
        """Every trigger of a project as recorded, inactive and broken ones too."""
        return self._rows.get(project_id, [])

    async def ready(self) -> None:
        """Wait until the triggers were read once."""
        await self._ready.wait()

    async def changed(self) -> None:
        """Wait until some trigger has changed."""
        await self._changed.wait()

    async def run(self) -> None:
        """Serve until cancelled."""
        while True:
            try:
                await self.look()
                self._ready.set()
            except DATABASE_AWAY as error:
                log.warning("triggers cannot be followed (%s); trying again", error)
            await anyio.sleep(self.look_seconds)

    async def look(self) -> None:
        """Take in whatever changed since the last look."""
        changed = [await self._look_at(project) for project in self.projects]
        if any(changed):
            self._rebuild()

    async def _look_at(self, project: ServedProject) -> bool:
        stamps = await asyncio.to_thread(trigger_file_stamps, project.root)
        if stamps != self._stamps.get(project.id):
            await self._read(project, stamps)
        state = await triggers_changed_at(self.database, project.id)
        if state == self._states.get(project.id):
            return False
        self._rows[project.id] = await triggers_of(self.database, project.id)
        self._states[project.id] = state
        return True

    async def _read(self, project: ServedProject, stamps: Stamps) -> None:
        before = self._stamps.pop(project.id, ())
        readings = await asyncio.to_thread(_read_all, project)
        unsettled = _unsettled(readings, stamps, before, self.now())
        unread = {reading.pipeline: str(reading.unread) for reading in readings if reading.unread is not None}
        told = {pipeline: f"It works as last read: {reason}" for pipeline, reason in (unread | unsettled).items()}
        rows = [row for reading in readings for row in _rows_of(reading)]
        await keep_triggers(self.database, project.id, rows, told)
        self._tell_broken(project, readings)
        if not unsettled:
            self._stamps[project.id] = stamps

    def _tell_broken(self, project: ServedProject, readings: Sequence[TriggerReading]) -> None:
        for reading in readings:
            for broken in reading.broken:
                log.warning(
                    "trigger %s/%s in %s is broken: %s", broken.pipeline, broken.name, project.root, broken.reason
                )

    def _tell_newer(self, newer: dict[tuple[int, str], str]) -> None:
        for reason in set(newer.values()) - set(self._newer.values()):
            log.warning("%s It is left to the newer Headrace that wrote it, and so are events for it.", reason)
        self._newer = newer

    def _rebuild(self) -> None:
        found: dict[tuple[int, str], list[KnownTrigger]] = {}
        newer: dict[tuple[int, str], str] = {}
        for project in self.projects:
            for row in self._rows.get(project.id, []):
                try:
                    if known(TriggerStatus, row.status, "its status") is TriggerStatus.ACTIVE:
                        trigger = trigger_from_json(row.definition)
                        found.setdefault((project.id, row.source), []).append(KnownTrigger(row.id, project, trigger))
                except NewerRecord as error:
                    newer[project.id, row.source] = f"trigger {row.pipeline}/{row.name}: {error.message}"
        self._tell_newer(newer)
        self._triggers = {source: tuple(listed) for source, listed in found.items()}
        self._by_id = {known.id: known for listed in self._triggers.values() for known in listed}
        self.batching = tuple(known for known in self.active() if known.trigger.batch is not None)
        self.backfilling = tuple(known for known in self.active() if known.trigger.backfill is not None)
        self.edition += 1
        self._changed.set()
        self._changed = asyncio.Event()


def trigger_file_stamps(root: Path) -> Stamps:
    """What tells whether a project's files of triggers changed."""
    stamps = []
    for path in sorted((root / "pipelines").glob("*/triggers.yaml")):
        try:
            status = path.stat()
        except OSError:
            continue
        stamps.append((str(path), status.st_mtime_ns, status.st_size))
    return tuple(stamps)


def _unsettled(readings: Sequence[TriggerReading], stamps: Stamps, before: Stamps, now: float) -> dict[str, str]:
    """The pipelines whose file may be about to be written, and why; the next look will tell.

    That is one that is empty and was changed just now, and one that is gone since the look before.
    """
    written = {_pipeline_of(path): changed_at / 1e9 for path, changed_at, _ in stamps}
    empty = {
        reading.pipeline: f"{reading.file} is empty, maybe not for long."
        for reading in readings
        if reading.is_empty and abs(now - written.get(reading.pipeline, now)) < EMPTY_SECONDS
    }
    gone = {_pipeline_of(path) for path, _, _ in before} - written.keys()
    return empty | {pipeline: f"pipelines/{pipeline}/triggers.yaml is gone, maybe not for long." for pipeline in gone}


def _pipeline_of(path: str) -> str:
    return Path(path).parent.name


def _read_all(project: ServedProject) -> list[TriggerReading]:
    return [read_triggers(project.root, uuid, project.environ) for uuid in pipeline_uuids(project.root)]


def _rows_of(reading: TriggerReading) -> list[FileTrigger]:
    rows = [row_of(trigger) for trigger in reading.triggers]
    names = {row.name for row in rows}
    for broken in reading.broken:
        if broken.name not in names:
            names.add(broken.name)
            rows.append(_broken_row(reading.pipeline, broken.name, broken.reason))
    return rows


def _broken_row(pipeline: str, name: str, reason: str) -> FileTrigger:
    source = f"api:{pipeline}/{name}"
    return FileTrigger(pipeline, name, TriggerKind.API, source, TriggerStatus.BROKEN, reason, {})


def row_of(trigger: Trigger) -> FileTrigger:
    """A trigger as it is recorded."""
    status = TriggerStatus.ACTIVE if trigger.active else TriggerStatus.INACTIVE
    definition = trigger_to_json(trigger)
    return FileTrigger(trigger.pipeline, trigger.name, trigger.kind, trigger.source, status, None, definition)
