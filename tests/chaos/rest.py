"""Waits until nothing runs and nothing waits."""

from __future__ import annotations

import asyncio

from headrace.store.database import Database
from headrace.store.errors import DATABASE_AWAY

LOOK_SECONDS = 0.1
REST = """
SELECT (SELECT count(*) FROM headrace.run WHERE status IN ('initial', 'running')) AS runs,
       (SELECT count(*) FROM headrace.event_fate WHERE fate = 'waiting') AS waiting_events,
       (SELECT count(*) FROM headrace.ended_run) AS ended_runs,
       (SELECT count(*) FROM headrace.backfill WHERE status = 'running') AS backfills,
       (SELECT count(*) FROM headrace.slot) AS slots
"""


async def at_rest(database: Database, within: float) -> float:
    """Wait until services have done all there is to do; seconds that it took. After `within` it waits no longer."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    while loop.time() < began + within:
        try:
            if not any((await database.fetchrow(REST)).values()):
                break
        except DATABASE_AWAY:
            pass
        await asyncio.sleep(LOOK_SECONDS)
    return loop.time() - began
