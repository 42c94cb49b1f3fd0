"""Makes backfills: shows what one would run, records it exactly so, and lets people steer it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from headrace.domain.backfills import Order, PlannedInterval, Reprocess, plan_intervals
from headrace.domain.errors import HeadraceError
from headrace.domain.intervals import Every, Interval, intervals
from headrace.store.backfills import (
    NewBackfill,
    StoredBackfill,
    backfill_of_key,
    cancel_backfill,
    change_backfill,
    create_backfill,
    interval_standings,
    lock_planning,
    pause_backfill,
    resume_backfill,
    retry_backfill,
    stored_backfill,
)
from headrace.store.database import Database

ONLY_LIVE = "Only one that is running or paused can be."
PRIORITY = -10
"""Of a backfill's runs, unless it says otherwise: below live work."""


class UnknownBackfill(HeadraceError):
    """There is no backfill with this id."""

    code = "unknown-backfill"


class BackfillCannot(HeadraceError):
    """A backfill is not in a state in which it could do what was asked."""

    code = "backfill-cannot"


@dataclass(frozen=True, slots=True)
class BackfillRequest:
    """A backfill that somebody wants. Both bounds count: an interval that begins at `end` is run too."""

    project_id: int
    pipeline: str
    start: datetime
    end: datetime
    every: Every
    timezone: str = "UTC"
    reprocess: Reprocess = Reprocess.MISSING
    order: Order = Order.FORWARDS
    variables: Mapping[str, Any] = field(default_factory=dict)
    """As runs keep them."""
    concurrency: int = 1
    pace: float = 0.0
    priority: int = PRIORITY
    name: str = ""
    key: str | None = None
    """Requests of a project with the same key make one backfill."""
    trigger_name: str | None = None
    """The trigger of the pipeline as whose runs its own are made."""


@dataclass(frozen=True)
class Backfilling:
    """Makes and steers backfills."""

    database: Database

    async def preview(self, request: BackfillRequest) -> list[PlannedInterval]:
        """What the backfill would make now, in its order. Raises BadInterval, ZoneInfoNotFoundError."""
        async with self.database.connection() as connection:
            return await planned_in(connection, request)

    async def create(self, request: BackfillRequest) -> int:
        """Record the backfill with the intervals that `preview` shows; its id. Raises as `preview` does."""
        async with self.database.transaction() as connection:
            return await create_in(connection, request)

    async def show(self, backfill: int) -> StoredBackfill:
        """A backfill and what its intervals have come to. Raises UnknownBackfill."""
        found = await stored_backfill(self.database, backfill)
        if found is None:
            raise UnknownBackfill(f"There is no backfill {backfill}.", remedy="`headrace backfills` lists them.")
        return found

    async def pause(self, backfill: int) -> None:
        """Let it make no more runs for now; those that run go on. Raises UnknownBackfill, BackfillCannot."""
        await self._told(
            backfill, await pause_backfill(self.database, backfill), "be paused", "Only one that is running can be."
        )

    async def resume(self, backfill: int) -> None:
        """Let it go on. Raises UnknownBackfill, BackfillCannot."""
        await self._told(backfill, await resume_backfill(self.database, backfill), "go on", "Only a paused one can.")

    async def change(self, backfill: int, *, concurrency: int | None = None, pace: float | None = None) -> None:
        """Change how fast it goes, from now on. Raises UnknownBackfill, BackfillCannot."""
        await self._told(
            backfill, await change_backfill(self.database, backfill, concurrency, pace), "be changed", ONLY_LIVE
        )

    async def cancel(self, backfill: int) -> None:
        """End it, and cancel the runs it made. Raises UnknownBackfill, BackfillCannot."""
        await self._told(backfill, await cancel_backfill(self.database, backfill), "be cancelled", ONLY_LIVE)
        await self.database.waker.wake()

    async def retry(self, backfill: int) -> int:
        """Run again only what did not complete; how many intervals that are. Raises UnknownBackfill, BackfillCannot."""
        again = await retry_backfill(self.database, backfill)
        await self._told(
            backfill, again > 0, "be retried: nothing in it failed", "Only failed and cancelled ones can be."
        )
        return again

    async def _told(self, backfill: int, done: bool, what: str, remedy: str) -> None:
        if not done:
            status = (await self.show(backfill)).status
            raise BackfillCannot(f"Backfill {backfill} is {status} and cannot {what}.", remedy=remedy)


async def planned_in(connection: Any, request: BackfillRequest) -> list[PlannedInterval]:
    """What a backfill would make now, by what a connection sees. Raises BadInterval, ZoneInfoNotFoundError."""
    found = await asyncio.to_thread(_intervals, request)
    first, last = found[0].start, found[-1].start
    standings = await interval_standings(connection, request.project_id, request.pipeline, first, last)
    return await asyncio.to_thread(plan_intervals, found, standings, request.reprocess, request.order)


def _intervals(request: BackfillRequest) -> list[Interval]:
    return list(intervals(request.start, request.end, request.every, ZoneInfo(request.timezone)))


async def create_in(connection: Any, request: BackfillRequest) -> int:
    """Record a backfill inside the caller's transaction; its id, or that of the one which its key made before."""
    await lock_planning(connection, request.project_id)
    if request.key is not None:
        earlier = await backfill_of_key(connection, request.project_id, request.key)
        if earlier is not None:
            return earlier
    new = NewBackfill(
        request.project_id,
        request.pipeline,
        request.name or f"{request.pipeline} {request.start:%Y-%m-%d} to {request.end:%Y-%m-%d}",
        request.start,
        request.end,
        str(request.every),
        request.timezone,
        request.reprocess,
        request.order,
        request.variables,
        request.concurrency,
        request.pace,
        request.priority,
        request.key,
        request.trigger_name,
    )
    return await create_backfill(connection, new, await planned_in(connection, request))
