"""Makes backfills: shows what one would run, records it exactly so, and lets people steer it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from headrace.domain.backfills import Order, PlannedInterval, Reprocess, plan_intervals
from headrace.domain.errors import HeadraceError
from headrace.domain.intervals import Every, intervals
from headrace.store.backfills import (
    NewBackfill,
    StoredBackfill,
    cancel_backfill,
    change_backfill,
    create_backfill,
    newest_run_statuses,
    pause_backfill,
    resume_backfill,
    retry_backfill,
    stored_backfill,
)
from headrace.store.database import Database

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
    concurrency: int = 1
    pace: float = 0.0
    priority: int = PRIORITY
    name: str = ""


@dataclass(frozen=True)
class Backfilling:
    """Makes and steers backfills."""

    database: Database

    async def preview(self, request: BackfillRequest) -> list[PlannedInterval]:
        """What the backfill would make now, in its order. Raises BadInterval, ZoneInfoNotFoundError."""
        async with self.database.connection() as connection:
            return await planned_in(connection, request)

    async def create(self, request: BackfillRequest) -> int:
        """Record the backfill with the intervals that `preview` shows; its id."""
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
        await self._told(backfill, await pause_backfill(self.database, backfill), "be paused")

    async def resume(self, backfill: int) -> None:
        """Let it go on. Raises UnknownBackfill, BackfillCannot."""
        await self._told(backfill, await resume_backfill(self.database, backfill), "go on")

    async def change(self, backfill: int, *, concurrency: int | None = None, pace: float | None = None) -> None:
        """Change how fast it goes, from now on. Raises UnknownBackfill, BackfillCannot."""
        await self._told(backfill, await change_backfill(self.database, backfill, concurrency, pace), "be changed")

    async def cancel(self, backfill: int) -> None:
        """End it, and cancel the runs it made. Raises UnknownBackfill, BackfillCannot."""
        await self._told(backfill, await cancel_backfill(self.database, backfill), "be cancelled")
        await self.database.waker.wake()

    async def retry(self, backfill: int) -> int:
        """Run again only what did not complete; how many intervals that are. Raises UnknownBackfill, BackfillCannot."""
        again = await retry_backfill(self.database, backfill)
        await self._told(backfill, again > 0, "be retried: nothing in it failed")
        return again

    async def _told(self, backfill: int, done: bool, what: str) -> None:
        if not done:
            status = (await self.show(backfill)).status
            raise BackfillCannot(f"Backfill {backfill} is {status} and cannot {what}.")


async def planned_in(connection: Any, request: BackfillRequest) -> list[PlannedInterval]:
    """What a backfill would make now, by what a connection sees. Raises BadInterval, ZoneInfoNotFoundError."""
    found = list(intervals(request.start, request.end, request.every, ZoneInfo(request.timezone)))
    first, last = found[0].start, found[-1].start
    newest = await newest_run_statuses(connection, request.project_id, request.pipeline, first, last)
    return plan_intervals(found, newest, request.reprocess, request.order)


async def create_in(connection: Any, request: BackfillRequest) -> int:
    """Record a backfill inside the caller's transaction; its id."""
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
    )
    return await create_backfill(connection, new, await planned_in(connection, request))
