"""The sensors of one service: which of them it holds, by lease and fencing token, and what runs for each."""

from __future__ import annotations

import asyncio
import logging
import os
import random
import socket
from collections import defaultdict
from dataclasses import dataclass, field
from uuid import UUID, uuid4

import anyio
from anyio.abc import TaskGroup

from headrace.domain.triggers import TriggerKind
from headrace.store.database import Database
from headrace.store.errors import DATABASE_AWAY
from headrace.store.sensors import (
    ClaimedSensor,
    LookNote,
    claim_sensors,
    keep_sensors,
    note_looks,
    release_sensors,
    renew_sensor_lease,
)
from headrace.triggers.book import TriggerBook
from headrace.triggers.delivering import Accepting, Deliverer, SteadyClock
from headrace.triggers.looking import Lookout, LookWorkers, Questions
from headrace.triggers.sensor_definitions import SensorDefinition, sensor_definitions

log = logging.getLogger(__name__)

Definitions = dict[tuple[int, str], SensorDefinition]


@dataclass(frozen=True, slots=True)
class SensorSettings:
    """How a service looks for sensors; times in seconds."""

    lease: float = 15.0
    """A service that was not heard of for so long has lost its sensors."""
    poll: float = 1.0
    """How often leases, pauses, cursors that were put, and free sensors are looked at."""


@dataclass
class Sensors:
    """Looks for the sensors that the book's triggers listen to, as far as no other service does.

    `questions` answers what sensors ask beside their deliveries.
    """

    database: Database
    book: TriggerBook
    acceptor: Accepting
    workers: LookWorkers
    clock: SteadyClock
    questions: Questions
    settings: SensorSettings = field(default_factory=SensorSettings)
    random: random.Random = field(default_factory=random.Random)
    id: UUID = field(default_factory=uuid4)
    _running: dict[int, Lookout] = field(default_factory=dict)
    _known: Definitions = field(default_factory=dict)
    _notes: dict[int, LookNote] = field(default_factory=dict)
    _woken: asyncio.Event = field(default_factory=asyncio.Event)
    _ready: asyncio.Event = field(default_factory=asyncio.Event)
    _renewed_at: float = 0.0

    async def ready(self) -> None:
        """Wait until sensors were looked after once."""
        await self._ready.wait()

    def wake(self) -> None:
        """Look after the sensors now: one may have been paused, resumed or put elsewhere."""
        self._woken.set()

    async def run(self) -> None:
        """Serve until cancelled; then end what looks and give the sensors back."""
        await self.book.ready()
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._follow_book)
                await self._keep(tasks)
        finally:
            with anyio.move_on_after(10, shield=True):
                await self._leave()

    async def _keep(self, tasks: TaskGroup) -> None:
        while True:
            self._woken.clear()
            try:
                await self._turn(tasks)
                self._ready.set()
            except DATABASE_AWAY as error:
                log.warning("sensors cannot be looked after (%s); trying again", error)
                self._end_expired()
            with anyio.move_on_after(self.settings.poll):
                await self._woken.wait()

    async def _follow_book(self) -> None:
        while True:
            await self.book.changed()
            self.wake()

    async def _leave(self) -> None:
        try:
            await self._write_notes()
            await release_sensors(self.database, self.id)
        except DATABASE_AWAY as error:
            log.warning("the sensors of this service could not be given back (%s): its lease runs out by itself", error)

    async def _turn(self, tasks: TaskGroup) -> None:
        await self._take_in_book()
        await self._write_notes()
        await self._renew()
        await self._give_back()
        await self._claim(tasks)

    async def _take_in_book(self) -> None:
        definitions = sensor_definitions(self.book.of_kind(TriggerKind.SENSOR))
        if definitions == self._known:
            return
        for project, group in _by_project(definitions).items():
            await keep_sensors(self.database, project, {item.name: dict(item.settings) for item in group})
        self._known = definitions

    async def _write_notes(self) -> None:
        notes, self._notes = self._notes, {}
        if not notes:
            return
        try:
            await note_looks(self.database, self.id, list(notes.values()))
        except BaseException:
            self._notes = {**notes, **self._notes}
            raise

    async def _renew(self) -> None:
        """Prolong the lease, and end what looks for a sensor that is not held any more under the same token."""
        asked_at = self.clock.monotonic()
        held = await renew_sensor_lease(self.database, self.id, socket.gethostname(), os.getpid(), self.settings.lease)
        self._renewed_at = asked_at
        for sensor, lookout in self._running.items():
            if held.get(sensor) != lookout.deliverer.held.fence:
                self._end(sensor)

    def _end_expired(self) -> None:
        """Without a lease nothing may look: another service does by now."""
        if self.clock.monotonic() - self._renewed_at > self.settings.lease:
            for sensor in self._running:
                self._end(sensor)

    def _end(self, sensor: int) -> None:
        self._running[sensor].scope.cancel()

    async def _give_back(self) -> None:
        """Let go of sensors whose definition is not what it was; they are taken again as they are now."""
        stale = [sensor for sensor, lookout in self._running.items() if self._is_stale(lookout)]
        for sensor in stale:
            self._end(sensor)
        if stale:
            await release_sensors(self.database, self.id, stale)

    def _is_stale(self, lookout: Lookout) -> bool:
        definition = lookout.definition
        known = self._known.get((definition.project.id, definition.name))
        return known != definition or (lookout.is_streaming and lookout.stamp != definition.stamp())

    async def _claim(self, tasks: TaskGroup) -> None:
        for project, group in _by_project(self._known).items():
            definitions = {item.name: item for item in group}
            running = list(self._running)
            for held in await claim_sensors(self.database, self.id, project, list(definitions), running):
                lookout = self._lookout(definitions[held.name], held)
                self._running[held.id] = lookout
                tasks.start_soon(self._look, lookout, held)

    async def _look(self, lookout: Lookout, held: ClaimedSensor) -> None:
        try:
            await lookout.run(held.due_in)
        finally:
            if self._running.get(held.id) is lookout:
                del self._running[held.id]
            self.wake()

    def _lookout(self, definition: SensorDefinition, held: ClaimedSensor) -> Lookout:
        deliverer = Deliverer(self.database, self.acceptor, self.clock, self.id, definition, held)
        return Lookout(
            definition,
            deliverer,
            self.workers,
            self.clock,
            self.random,
            self.questions,
            self._note,
            failures=held.failures,
        )

    def _note(self, note: LookNote) -> None:
        self._notes[note.sensor] = note


def _by_project(definitions: Definitions) -> dict[int, list[SensorDefinition]]:
    groups: dict[int, list[SensorDefinition]] = defaultdict(list)
    for (project, _), definition in definitions.items():
        groups[project].append(definition)
    return groups
