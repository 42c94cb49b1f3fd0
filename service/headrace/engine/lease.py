"""The lease of one service: a thread with a connection of its own renews it, the event loop watches that it holds."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import anyio
import asyncpg
from anyio.from_thread import start_blocking_portal

from headrace.engine.clock import DatabaseClock
from headrace.store.database import Database
from headrace.store.errors import DATABASE_AWAY
from headrace.store.runs import renew_lease

log = logging.getLogger(__name__)

BEAT_SECONDS = 1.0
SLOW_SHARE = 1 / 3
"""An event loop that stands still for this share of a lease is told in the log."""
STUCK_LEASES = 4
"""An event loop that stands still for so many leases loses them: other services may do better."""


@dataclass
class Lease:
    """Renews the lease of `service`; calls `on_lost` when it could not be renewed before it ran out.

    The lease is counted from before it was asked for, so here it ends no later than in the database. It is renewed in a
    thread so that neither a busy event loop nor a pool without free connections lets it run out.
    """

    database: Database
    service: UUID
    seconds: float
    clock: DatabaseClock
    on_lost: Callable[[], None]
    held: asyncio.Event = field(default_factory=asyncio.Event)
    """Set while the lease holds."""
    _until: float = 0.0
    _beat: float = 0.0
    _stop: asyncio.Event = field(default_factory=asyncio.Event)
    _stopped: asyncio.Event = field(default_factory=asyncio.Event)

    async def keep(self) -> None:
        """Renew and watch until `stop` is called or this is cancelled."""
        self._beat = self.clock.monotonic()
        loop = asyncio.get_running_loop()
        try:
            with start_blocking_portal() as thread:
                renewing = thread.start_task_soon(self._keep_renewing, loop)
                try:
                    await self._watch(renewing)
                finally:
                    renewing.cancel()
        finally:
            self._stopped.set()

    async def stop(self) -> None:
        """Renew no more; returns when the thread is gone. The lease itself is left to whoever gives it back."""
        self._stop.set()
        await self._stopped.wait()

    async def _watch(self, renewing: Future[None]) -> None:
        while not self._stop.is_set():
            self._beat = now = self.clock.monotonic()
            if self.held.is_set() and now >= self._until:
                self.held.clear()
                log.error("the lease of this service ran out: the database did not answer for %g s", self.seconds)
                self.on_lost()
            if renewing.done():
                renewing.result()
            with anyio.move_on_after(self._pause(now)):
                await self._stop.wait()

    def _pause(self, now: float) -> float:
        return max(min(self._until - now, BEAT_SECONDS), 0.0) if self.held.is_set() else BEAT_SECONDS

    def _renewed(self, now: float, asked_at: float) -> None:
        self.clock.agree(now, asked_at)
        self._until = asked_at + self.seconds
        if self._until > self.clock.monotonic():
            self.held.set()

    async def _keep_renewing(self, loop: asyncio.AbstractEventLoop) -> None:
        """The thread's part."""
        while True:
            try:
                async with self.database.reserved(answer_within=self.seconds / 3) as connection:
                    while True:
                        await self._renew(connection, loop)
                        await asyncio.sleep(self.seconds / 3)
            except (*DATABASE_AWAY, asyncpg.PostgresError) as error:
                log.warning("the lease could not be renewed (%s: %s); trying again", type(error).__name__, error)
            await asyncio.sleep(min(self.seconds / 10, 1.0))

    async def _renew(self, connection: Any, loop: asyncio.AbstractEventLoop) -> None:
        asked_at = self.clock.monotonic()
        silence = asked_at - self._beat
        if silence > STUCK_LEASES * self.seconds:
            log.error("the event loop has stood still for %.1f s: its lease is left to run out", silence)
            return
        if silence > BEAT_SECONDS + self.seconds * SLOW_SHARE:
            log.warning("the event loop has stood still for %.1f s", silence)
        now = await renew_lease(connection, self.service, socket.gethostname(), os.getpid(), self.seconds)
        with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(self._renewed, now, asked_at)
