"""Clears away what services that were killed left in the database."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from headrace.engine.clock import Clock
from headrace.store.database import Database
from headrace.store.errors import DATABASE_AWAY
from headrace.store.outputs import drop_orphan_blobs
from headrace.store.queries import QUERIES

log = logging.getLogger(__name__)

BATCH = 50


@dataclass
class Sweeper:
    """Sweeps at its start and every `interval` seconds.

    A blob without an output is one whose attempt was stopped or fenced off before its end was recorded.
    """

    database: Database
    clock: Clock
    interval: float
    age: float = 3600.0

    async def run(self) -> None:
        """Serve until cancelled."""
        while True:
            try:
                await self.sweep()
            except DATABASE_AWAY as error:
                log.warning("nothing was swept (%s)", error)
            await self.clock.sleep(self.interval)

    async def sweep(self) -> int:
        """Drop orphan blobs, a batch at a time, and forget services that are long gone; how many blobs it were."""
        dropped = 0
        while found := await drop_orphan_blobs(self.database, older_than=self.age, most=BATCH):
            dropped += found
        await self.database.execute(QUERIES["forget_services"])
        await self.database.execute(QUERIES["forget_caps"])
        return dropped
