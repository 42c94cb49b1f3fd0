"""Hands on the events that wait for a trigger which gathers none any more: into a run, or to a person as dead letters.

A trigger that says neither batch nor backfill any more makes one run of them; one that was removed makes none, and they
become dead letters. Of one that is inactive or broken they wait until it is neither.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from headrace.store.database import Database
from headrace.store.events import LeftWaiting, bury_left_waiting, left_waiting, lock_trigger_now
from headrace.triggers.book import KnownTrigger, TriggerBook

log = logging.getLogger(__name__)

LOOK_SECONDS = 30.0
"""How often it is looked though no trigger has changed: a service that knew of no change may have let events wait."""
REMOVED_SECONDS = 60.0
"""How long a trigger must be gone: one that is renamed and back, or on another branch for a moment, loses nothing."""
REMOVED = "its trigger was removed while the event waited for it"


@dataclass
class HandingOn:
    """Looks for such events. `flush` makes one run of what waits for a trigger; false where another service does."""

    database: Database
    book: TriggerBook
    flush: Callable[[KnownTrigger], Awaitable[bool]]
    now: Callable[[], float] = time.monotonic
    _edition: int = -1
    _next: float = 0.0

    async def look(self) -> bool:
        """Hand on what can be; whether there is more at once."""
        if self._edition == self.book.edition and self.now() < self._next:
            return False
        edition, more = self.book.edition, False
        for left in await self._left():
            more |= await self._hand_on(left)
        self._edition, self._next = edition, self.now() + (0.0 if more else LOOK_SECONDS)
        return more

    async def _left(self) -> list[LeftWaiting]:
        gathering = [known.id for known in (*self.book.batching, *self.book.backfilling)]
        return await left_waiting(self.database, [project.id for project in self.book.projects], gathering)

    async def _hand_on(self, left: LeftWaiting) -> bool:
        known = self.book.by_id(left.trigger_id)
        if known is not None:
            return await self.flush(known)
        if left.removed_for is None or left.removed_for < REMOVED_SECONDS:
            return False
        async with self.database.transaction() as connection:
            if await lock_trigger_now(connection, left.trigger_id):
                buried = await bury_left_waiting(connection, left.trigger_id, REMOVED)
                log.warning(
                    "%d events that waited for trigger %d are dead letters: %s", buried, left.trigger_id, REMOVED
                )
        return False
