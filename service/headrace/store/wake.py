"""Wakes the services that wait for work: those of this process at once, the others by a notification.

A notification goes outside of any transaction, and not more often than useful.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING
from uuid import uuid4

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
        self.sender = uuid4().hex
        """What notifications carry, by which a listener knows those of its own process: it was woken already."""
        self._database = database
        self._here: list[Callable[[], None]] = []
        self._sent_at = -GAP_SECONDS
        self._waiting = False

    @contextmanager
    def waking(self, wake: Callable[[], None]) -> Iterator[None]:
        """Have `wake` called for all that is told in this process."""
        self._here.append(wake)
        try:
            yield
        finally:
            self._here.remove(wake)

    async def wake(self) -> None:
        """Wake every service; returns once told."""
        self.wake_here()
        await self.wake_others()

    def wake_here(self) -> None:
        """Wake the services of this process; somebody has to wake the others."""
        for wake in tuple(self._here):
            wake()

    async def wake_others(self) -> None:
        """Wake the services of other processes; returns once told, at once when somebody is about to tell them."""
        if self._waiting:
            return
        self._waiting = True
        try:
            await anyio.sleep(max(self._sent_at + GAP_SECONDS - time.monotonic(), 0.0))
        finally:
            self._waiting = False
        self._sent_at = time.monotonic()
        try:
            await self._database.execute(QUERIES["wake_services"], WAKE_CHANNEL, self.sender)
        except DATABASE_AWAY:
            return
