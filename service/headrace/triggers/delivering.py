"""Commits what a sensor gives: its events and its cursor in one transaction, and only while this service holds it."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from time import perf_counter
from typing import Any, Protocol
from uuid import UUID

import asyncpg

from headrace.domain.errors import HeadraceError
from headrace.domain.events import Accepted, NewEvent
from headrace.store.database import Database
from headrace.store.errors import DATABASE_AWAY
from headrace.store.sensors import Advance, ClaimedSensor, advance_sensor, is_advanced
from headrace.triggers.sensor_definitions import SensorDefinition

log = logging.getLogger(__name__)

LONGEST_KEY = 1000
LONGEST_PAUSE = 5.0


class SensorLost(Exception):
    """Another service holds the sensor now, or somebody paused it or put its cursor: nothing of ours is committed."""


class UnacceptableDelivery(HeadraceError):
    """The database cannot hold the events that a sensor gave."""

    code = "unacceptable-delivery"


class Accepting(Protocol):
    """What takes events into the database."""

    async def accept_in(self, connection: Any, events: Sequence[NewEvent]) -> list[Accepted]:
        """Accept events inside the caller's transaction."""
        ...

    def committed(self, answers: Sequence[Accepted], source: str, began: float) -> None:
        """Tell of what is committed now, and had at `began`."""
        ...


class SteadyClock(Protocol):
    """Time for waits."""

    def monotonic(self) -> float:
        """Seconds that only ever grow."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Let `seconds` pass."""
        ...


@dataclass
class Deliverer:
    """Commits one held sensor's deliveries, one after another; `cursor` is where the last one left it."""

    database: Database
    acceptor: Accepting
    clock: SteadyClock
    service: UUID
    definition: SensorDefinition
    held: ClaimedSensor
    now: Callable[[], datetime] = lambda: datetime.now(UTC)

    def __post_init__(self) -> None:
        self.cursor = self.held.cursor
        self.seq = self.held.seq

    async def deliver(self, content: Mapping[str, Any]) -> None:
        """Commit a delivery as it came from the worker; returns after the commit, however long the database is away.

        Raises SensorLost, and UnacceptableDelivery for what the database cannot hold.
        """
        began = perf_counter()
        events = [self._event(json.loads(text), place) for place, text in enumerate(content.get("events", ()))]
        moves = "cursor" in content
        cursor = json.loads(content["cursor"]) if moves else None
        advance = Advance(
            self.held.id, self.service, self.held.fence, self.seq + 1, len(events), self._lag(events), moves, cursor
        )
        answers = await self._committed(advance, events)
        self.seq = advance.seq
        if moves:
            self.cursor = cursor
        self.acceptor.committed(answers, self.definition.source, began)

    def _event(self, given: Mapping[str, Any], place: int) -> NewEvent:
        return NewEvent(
            self.definition.project.id,
            self.definition.source,
            "sensor",
            self._key(given["key"], place),
            given["payload"],
            given["headers"],
            occurred_at=_time(given["occurred_at"]),
            execution_date=_time(given["execution_date"]),
        )

    def _key(self, key: str | None, place: int) -> str:
        """The event's own key; one without is told by its place among all that the sensor ever gave."""
        if not key:
            return f"{self.held.id}-{self.seq + 1}-{place}"
        if len(key) > LONGEST_KEY:
            key = f"sha256:{hashlib.sha256(key.encode('utf-8', 'surrogatepass')).hexdigest()}"
        return f"{key}#{self.held.round}" if self.held.round else key

    def _lag(self, events: Sequence[NewEvent]) -> float | None:
        newest = max((event.occurred_at for event in events if event.occurred_at is not None), default=None)
        return None if newest is None else max((self.now() - newest).total_seconds(), 0.0)

    async def _committed(self, advance: Advance, events: Sequence[NewEvent]) -> list[Accepted]:
        pause = 0.05
        while True:
            try:
                return await self._commit(advance, events)
            except asyncpg.UniqueViolationError:
                continue  # another event took the same dedup key just now: the statement sees it next time
            except (*DATABASE_AWAY, asyncpg.IdleInTransactionSessionTimeoutError) as error:
                log.warning("a delivery of sensor %s waits for the database (%s)", self.definition.name, error)
                await self.clock.sleep(pause)
                pause = min(pause * 2, LONGEST_PAUSE)
            except asyncpg.DataError as error:
                raise UnacceptableDelivery(
                    f"Events of sensor {self.definition.name} cannot be recorded: {error}.",
                    remedy="Give keys and payloads of text that is Unicode without NUL.",
                ) from error

    async def _commit(self, advance: Advance, events: Sequence[NewEvent]) -> list[Accepted]:
        async with self.database.transaction() as connection:
            if await advance_sensor(connection, advance):
                return await self.acceptor.accept_in(connection, events)
        if await is_advanced(self.database, advance):
            return []  # an earlier try was committed and its answer lost; polling finds its runs
        raise SensorLost


def _time(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
