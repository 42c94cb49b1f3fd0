"""One process at a time, by a lock of the database's that ends with its holder's connection."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from headrace.store.errors import DatabaseBusy

PATIENCE_SECONDS = 60.0
"""How long a process waits for another one that holds the lock."""
POLL_SECONDS = 0.05

_HOLDER = """
SELECT a.pid, COALESCE(NULLIF(a.application_name, ''), 'program') AS application_name,
       a.backend_start AT TIME ZONE 'UTC' AS backend_start
FROM pg_locks AS l JOIN pg_stat_activity AS a ON a.pid = l.pid
WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1 AND a.datname = current_database()
  AND (l.classid::bigint << 32) | l.objid::bigint = $1::bigint
"""


@asynccontextmanager
async def one_at_a_time(
    connection: Any, lock: int, what: str, *, poll: float = POLL_SECONDS, patience: float = PATIENCE_SECONDS
) -> AsyncIterator[None]:
    """Hold an advisory lock of the session; `what` tells those who wait too long what is done under it.

    The connection must be the caller's own and end after an error: a lock whose answer was lost ends with it. Raises
    DatabaseBusy after `patience` seconds.
    """
    # Asks again and again: a blocking advisory lock would deadlock with CREATE INDEX CONCURRENTLY.
    deadline = time.monotonic() + patience
    while not await connection.fetchval("SELECT pg_try_advisory_lock($1)", lock):
        if time.monotonic() > deadline:
            raise await _busy(connection, lock, what, patience)
        await asyncio.sleep(poll)
    try:
        yield
    finally:
        if not connection.is_closed():
            await connection.execute("SELECT pg_advisory_unlock($1)", lock)


async def _busy(connection: Any, lock: int, what: str, patience: float) -> DatabaseBusy:
    holder = await connection.fetchrow(_HOLDER, lock)
    who = "another process" if holder is None else "the {application_name} of server process {pid}".format(**holder)
    since = "" if holder is None else f", connected since {holder['backend_start']:%Y-%m-%d %H:%M:%S} UTC"
    return DatabaseBusy(
        f"{what} by {who}{since}; {patience:.0f} s were not enough.",
        remedy="Wait for it to end, or end it: SELECT pg_terminate_backend(<its process>).",
    )
