"""Waits until nothing runs and nothing waits."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from headrace.store.database import Database
from headrace.store.errors import DATABASE_AWAY

LOOK_SECONDS = 0.1
REST = """
SELECT (SELECT count(*) FROM headrace.run WHERE status IN ('initial', 'running')) AS runs,
       (SELECT count(*) FROM headrace.event_fate WHERE fate = 'waiting') AS waiting_events,
       (SELECT count(*) FROM headrace.ended_run) AS ended_runs,
       (SELECT count(*) FROM headrace.catching_up) AS schedules_behind,
       (SELECT count(*) FROM headrace.backfill WHERE status = 'running') AS backfills,
       (SELECT count(*) FROM headrace.slot) AS slots
"""


Condition = Callable[[Any], Awaitable[bool]]
"""Something that must hold too before nothing more is to come; it gets a connection."""


async def at_rest(database: Database, within: float, *conditions: Condition) -> float:
    """Wait until services have done all there is to do; seconds that it took. After `within` it waits no longer."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    while loop.time() < began + within:
        try:
            if await _rests(database, conditions):
                break
        except DATABASE_AWAY:
            pass
        await asyncio.sleep(LOOK_SECONDS)
    return loop.time() - began


async def _rests(database: Database, conditions: tuple[Condition, ...]) -> bool:
    """First what is still to come, then what goes on: the other way round, what comes in between would not be seen."""
    async with database.connection() as connection:
        for holds in conditions:
            if not await holds(connection):
                return False
    return not any((await database.fetchrow(REST)).values())
