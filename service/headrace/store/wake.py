"""Wakes the services that wait for work: a notification outside of any transaction, and not more often than useful."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import anyio

from headrace.store.errors import DATABASE_AWAY
from headrace.store.queries import QUERIES

if TYPE_CHECKING:
    from headrace.store.database import Database

WAKE_CHANNEL = "headrace_wake"
GAP_SECONDS = 0.05


class Waker:
    """Sends notifications, each for all that happened since the one before.

    NOTIFY takes a lock of the whole server when its transaction commits: many of them would make all commits queue. One
    that is lost costs the services no more than one interval of their polling.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._sent_at = -GAP_SECONDS
        self._waiting = False

    async def wake(self) -> None:
        """Wake the services; returns once told, at once when somebody else is about to tell them."""
        if self._waiting:
            return
        self._waiting = True
        try:
            await anyio.sleep(max(self._sent_at + GAP_SECONDS - time.monotonic(), 0.0))
        finally:
            self._waiting = False
        self._sent_at = time.monotonic()
        try:
            await self._database.execute(QUERIES["wake_services"], WAKE_CHANNEL)
        except DATABASE_AWAY:
            return
