"""Watches for migrations that a newer version applies while this one runs on the same database."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field

from headrace.engine.clock import Clock
from headrace.store.database import Database
from headrace.store.errors import DATABASE_AWAY, SchemaTooNew
from headrace.store.migrations import newer_migrations

log = logging.getLogger(__name__)

LOOK_SECONDS = 5.0


@dataclass
class SchemaWatch:
    """Tells of each newer migration once; one that this version cannot work with is handed to `unfit`."""

    database: Database
    unfit: Callable[[SchemaTooNew], None]
    clock: Clock
    look_seconds: float = LOOK_SECONDS
    _told: set[str] = field(default_factory=set)

    async def run(self) -> None:
        """Serve until cancelled."""
        while True:
            try:
                await self.look()
            except SchemaTooNew as error:
                self.unfit(error)
            except DATABASE_AWAY as error:
                log.warning("newer migrations are not looked for (%s)", error)
            await self.clock.sleep(self.look_seconds)

    async def look(self) -> None:
        """Look once. Raises SchemaTooNew."""
        async with self.database.connection() as connection:
            newer = await newer_migrations(connection)
        if fresh := [name for name in newer if name not in self._told]:
            self._told.update(fresh)
            log.warning(
                "a newer Headrace applied %s to the database; this one goes on: upgrade it, too", ", ".join(fresh)
            )
