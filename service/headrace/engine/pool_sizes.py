"""Keeps the sizes of a project's pools as its files say, for all services that grant slots."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from headrace.domain.errors import HeadraceError
from headrace.engine.clock import Clock
from headrace.store.database import Database
from headrace.store.errors import DATABASE_AWAY
from headrace.store.slots import keep_pools

log = logging.getLogger(__name__)

LOOK_SECONDS = 1.0


@dataclass
class PoolSizes:
    """Records the sizes of one project's pools; `keep` once before its runs are driven, then `run`."""

    database: Database
    project_id: int
    sizes: Callable[[], Mapping[str, int]]
    """What the project's files say now. May raise HeadraceError."""
    clock: Clock
    look_seconds: float = LOOK_SECONDS
    _kept: Mapping[str, int] | None = None
    _fault: str | None = None

    async def keep(self) -> None:
        """Record the sizes where they are not what was recorded last; while files are broken, those before count."""
        try:
            sizes = await asyncio.to_thread(self.sizes)
        except HeadraceError as error:
            self._tell(str(error))
            return
        self._fault = None
        if sizes != self._kept:
            await self.database.retrying(lambda: keep_pools(self.database, self.project_id, sizes))
            self._kept = sizes

    async def run(self) -> None:
        """Serve until cancelled."""
        while True:
            await self.clock.sleep(self.look_seconds)
            try:
                await self.keep()
            except DATABASE_AWAY as error:
                log.warning("the sizes of pools wait for the database (%s)", error)

    def _tell(self, fault: str) -> None:
        if fault != self._fault:
            log.warning("the sizes of pools stay as they were: %s", fault)
        self._fault = fault
