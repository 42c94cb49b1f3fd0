"""Accepts an event again, as a new one that tells which it repeats: for dead letters, and for triggers mended since."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import uuid4

from headrace.domain.errors import HeadraceError
from headrace.domain.events import Accepted, NewEvent
from headrace.domain.moments import revived
from headrace.store.database import Database
from headrace.store.events import StoredEvent, stored_event
from headrace.triggers.accepting import MANUAL, START, Acceptor


class UnknownEvent(HeadraceError):
    """There is no event with this id."""

    code = "unknown-event"


@dataclass(frozen=True)
class Replayer:
    """Replays events of the projects that a service serves."""

    database: Database
    acceptor: Acceptor

    async def replay(self, event: int) -> Accepted:
        """Accept a stored event again; triggers decide anew, and a start starts its pipeline as it is now.

        Raises UnknownEvent, and what `Acceptor.accept_start` raises.
        """
        return await self._accept(await find_event(self.database, event))

    async def replay_all(self, events: Sequence[int]) -> list[Accepted]:
        """Accept several stored events again, in their order. Raises UnknownEvent before any is accepted."""
        found = [await find_event(self.database, event) for event in events]
        return [await self._accept(event) for event in found]

    async def _accept(self, event: StoredEvent) -> Accepted:
        again = replay_of(event)
        if (event.source, event.kind) == (MANUAL, START):
            return await self.acceptor.accept_start(again, event.payload["pipeline"])
        return await self.acceptor.accept(again)


async def find_event(database: Database, event: int) -> StoredEvent:
    """A stored event. Raises UnknownEvent."""
    found = await stored_event(database, event)
    if found is None:
        raise UnknownEvent(f"There is no event {event}.", remedy="`headrace events` lists the events there are.")
    return found


def replay_of(event: StoredEvent) -> NewEvent:
    """The event to accept again; each replay has a key of its own."""
    return NewEvent(
        event.project_id,
        event.source,
        event.kind,
        f"{event.key}~{uuid4().hex}",
        event.payload,
        event.headers,
        event.body,
        event.occurred_at,
        {name: revived(value) for name, value in (event.variables or {}).items()},
        event.execution_date,
        replay_of=event.id,
    )
