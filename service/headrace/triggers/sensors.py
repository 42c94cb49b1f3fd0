"""The sensors of one service: which of them it holds, by lease and fencing token, and what runs for each."""

from __future__ import annotations

import asyncio
import logging
import os
import random
import socket
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from uuid import UUID, uuid4

import anyio
from anyio.abc import TaskGroup

from headrace.domain.sharing import Sharing, Standing
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
    sensor_standings,
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
    """How often pauses, cursors that were put, and free sensors are looked at."""


NEVER = float("-inf")
RENEWED_AFTER = 0.2
"""Of a lease: the share of it that is over when it is prolonged."""


@dataclass
class Sensors:
    """Looks for the sensors that the book's triggers listen to, as far as no other service does.

    Several services share them out: each takes at most its fair share, and gives back what it has beyond that when
    another one joins. `questions` answers what sensors ask beside their deliveries.
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
    _leaving: set[int] = field(default_factory=set)
    """Those that are to be given back, or to be taken up anew, once their lookout has ended."""
    _left: set[int] = field(default_factory=set)
    """Those whose lookout has ended for that."""
    _known: Definitions = field(default_factory=dict)
    _edition: int = -1
    """The edition of the book that `_known` is of."""
    _sharing: dict[int, Sharing] = field(default_factory=dict)
    _notes: dict[int, LookNote] = field(default_factory=dict)
    _woken: asyncio.Event = field(default_factory=asyncio.Event)
    _ready: asyncio.Event = field(default_factory=asyncio.Event)
    _renewed_at: float = NEVER
    _sure_until: float = NEVER
    _assured: asyncio.Event = field(default_factory=asyncio.Event)

    async def ready(self) -> None:
        """Wait until sensors were looked after once."""
        await self._ready.wait()

    def wake(self) -> None:
        """Look after the sensors now: one may have been paused, resumed or put elsewhere."""
        self._woken.set()

    async def run(self) -> None:
        """Serve until cancelled; then end what looks and give the sensors back."""
        self._renewed_at = self._sure_until = NEVER
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
            self._leaving, self._left = set(), set()
        except DATABASE_AWAY as error:
            log.warning("the sensors of this service could not be given back (%s): its lease runs out by itself", error)

    async def _turn(self, tasks: TaskGroup) -> None:
        await self._take_in_book()
        await self._write_notes()
        await self._renew()
        standings = await sensor_standings(self.database, self.id, list(self._known))
        self._end_lost(standings)
        self._end_stale()
        for project, standing in standings.items():
            self._sharing.setdefault(project, Sharing(self.settings.lease))
            self._make_room(project, standing)
        left = await self._release()
        for project, standing in standings.items():
            await self._claim(tasks, project, standing, left)

    async def _take_in_book(self) -> None:
        edition = self.book.edition
        if edition == self._edition:
            return
        definitions = sensor_definitions(self.book.of_kind(TriggerKind.SENSOR))
        if definitions != self._known:
            for project, group in _by_project(definitions).items():
                await keep_sensors(self.database, project, {item.name: dict(item.settings) for item in group})
            if _by_project(definitions).keys() != _by_project(self._known).keys():
                self._renewed_at = NEVER
            self._known = definitions
        self._edition = edition

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
        """Prolong the lease when a good part of it is over."""
        asked_at = self.clock.monotonic()
        if asked_at - self._renewed_at < self.settings.lease * RENEWED_AFTER:
            return
        projects = sorted(_by_project(self._known))
        host, pid = socket.gethostname(), os.getpid()
        await renew_sensor_lease(self.database, self.id, host, pid, self.settings.lease, projects)
        self._renewed_at = asked_at

    def _end_lost(self, standings: Mapping[int, Standing]) -> None:
        """End what looks for a sensor that is not held any more under the same token; the others may go on looking."""
        held = {sensor: fence for standing in standings.values() for sensor, fence in standing.held.items()}
        for sensor, lookout in self._running.items():
            if held.get(sensor) != lookout.deliverer.held.fence and self._is_known(lookout):
                lookout.scope.cancel()
        self._sure_until = self._renewed_at + self.settings.lease
        self._assured.set()
        self._assured = asyncio.Event()

    def _end_expired(self) -> None:
        """Without a lease nothing may look: another service does by now."""
        if self.clock.monotonic() - self._renewed_at > self.settings.lease:
            for lookout in self._running.values():
                lookout.scope.cancel()

    async def _sure(self) -> None:
        """Wait until it is certain that the lease holds: after standing still, this service may have lost it."""
        while self.clock.monotonic() >= self._sure_until:
            await self._assured.wait()

    def _end_stale(self) -> None:
        """Let go of sensors whose definition is not what it was; they are taken again as they are now."""
        for sensor, lookout in self._running.items():
            if self._is_stale(lookout):
                self._leaving.add(sensor)
                lookout.scope.cancel()

    def _is_known(self, lookout: Lookout) -> bool:
        return (lookout.definition.project.id, lookout.definition.name) in self._known

    def _is_stale(self, lookout: Lookout) -> bool:
        definition = lookout.definition
        known = self._known.get((definition.project.id, definition.name))
        return known != definition or (lookout.is_streaming and lookout.stamp != definition.stamp())

    def _make_room(self, project: int, standing: Standing) -> None:
        """Give back what is beyond a fair share once another service has joined."""
        held = [sensor for sensor in self._running if sensor in standing.held and sensor not in self._leaving]
        beyond = self._sharing[project].beyond(standing)
        for sensor in sorted(held, key=lambda sensor: self._running[sensor].is_looking)[:beyond]:
            self._leaving.add(sensor)
            self._running[sensor].leave()

    async def _release(self) -> frozenset[int]:
        """Give back sensors whose lookouts have ended, with what their last looks came to; tells which."""
        left = frozenset(self._left)
        if left:
            await self._write_notes()
            await release_sensors(self.database, self.id, sorted(left))
            self._left -= left
            self.wake()
        return left

    async def _claim(self, tasks: TaskGroup, project: int, standing: Standing, left: frozenset[int]) -> None:
        taken = self._running.keys() | self._left | left
        idle = standing.held.keys() - taken
        most = len(idle) + self._sharing[project].room(standing, self.clock.monotonic())
        if not most:
            return
        definitions = {name: item for (number, name), item in self._known.items() if number == project}
        for held in await claim_sensors(self.database, self.id, project, list(definitions), sorted(taken), most):
            lookout = self._lookout(definitions[held.name], held)
            self._running[held.id] = lookout
            tasks.start_soon(self._look, lookout, held)

    async def _look(self, lookout: Lookout, held: ClaimedSensor) -> None:
        try:
            await lookout.run(held.due_in)
        finally:
            del self._running[held.id]
            if held.id in self._leaving:
                self._leaving.discard(held.id)
                self._left.add(held.id)
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
            self._sure,
            failures=held.failures,
        )

    def _note(self, note: LookNote) -> None:
        self._notes[note.sensor] = note


def _by_project(definitions: Definitions) -> dict[int, list[SensorDefinition]]:
    groups: dict[int, list[SensorDefinition]] = defaultdict(list)
    for (project, _), definition in definitions.items():
        groups[project].append(definition)
    return groups
