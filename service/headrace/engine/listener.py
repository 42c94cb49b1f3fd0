"""Hears of work that others made. Only a help: whatever is missed here, the next look at the database finds."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import anyio

from headrace.engine.clock import Clock
from headrace.store.database import Database
from headrace.store.errors import DATABASE_AWAY
from headrace.store.wake import WAKE_CHANNEL

log = logging.getLogger(__name__)

PAUSE_SECONDS = 1.0


@dataclass
class Listener:
    """Listens on a connection of its own, and makes sure every `beat` seconds that the other end still answers."""

    database: Database
    clock: Clock
    wake: Callable[[], None]
    beat: float = 10.0

    async def run(self) -> None:
        """Serve until cancelled."""
        while True:
            try:
                await self._listen()
            except DATABASE_AWAY as error:
                log.warning("no notifications are heard (%s: %s); polling goes on", type(error).__name__, error)
            await self.clock.sleep(PAUSE_SECONDS)

    async def _listen(self) -> None:
        gone = asyncio.Event()
        async with self.database.reserved(answer_within=self.beat) as connection:
            connection.add_termination_listener(lambda *_: gone.set())
            await connection.add_listener(WAKE_CHANNEL, self._hear)
            self.wake()  # for what was said before we listened
            while not gone.is_set():
                with anyio.move_on_after(self.beat):
                    await gone.wait()
                    return
                await connection.execute("SELECT 1")

    def _hear(self, connection: Any, pid: int, channel: str, sender: object) -> None:
        if sender != self.database.waker.sender:
            self.wake()
