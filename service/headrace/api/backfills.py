"""Backfills: what one would run, making it, how its intervals fare, and steering it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

from pydantic import Field

from headrace.api.fields import MOST, Given, Id, Text, Variables
from headrace.api.pages import Page, PageQuery, page_of
from headrace.api.routes import Call, Route
from headrace.api.runs import StartHeaders
from headrace.api.served import Served
from headrace.domain.backfills import BackfillStatus, IntervalState, Order, Reprocess
from headrace.domain.scopes import Scope
from headrace.store.backfills import StoredBackfill, backfill_intervals, newest_backfills, stored_backfill
from headrace.triggers.backfill_views import (
    BackfillView,
    IntervalView,
    PlannedIntervalView,
    backfill_view,
    interval_view,
    planned_views,
)
from headrace.triggers.backfill_wishes import BackfillWish
from headrace.triggers.backfilling import PRIORITY, Backfilling, BackfillRequest, UnknownBackfill

MOST_PRIORITY = 1_000_000
MOST_CONCURRENCY = 10_000
MOST_PACE = 366 * 86400.0

Concurrency = Annotated[int, Field(ge=1, le=MOST_CONCURRENCY, description="Runs at once.")]
Pace = Annotated[float, Field(ge=0, le=MOST_PACE, allow_inf_nan=False, description="Seconds between two runs.")]


class BackfillPath(Given):
    """Which backfill."""

    backfill: Id


class BackfillsQuery(PageQuery):
    """A page of backfills, newest first, of one project or pipeline or status."""

    project: Text | None = None
    pipeline: Text | None = None
    status: BackfillStatus | None = None


class IntervalsQuery(Given):
    """A page of intervals in the order of their runs; all, or those that have come to one state."""

    state: IntervalState | None = None
    limit: Annotated[int, Field(ge=1, le=1000, description="Intervals at most.")] = 200
    after: Annotated[int, Field(ge=0, le=2**31 - 1, description="Only positions after this: a page's `next`.")] = 0


class PlanQuery(Given):
    """A page of what a backfill would do, in the order of its runs."""

    limit: Annotated[int, Field(ge=1, le=1000, description="Intervals at most.")] = 200
    after: Annotated[int, Field(ge=0, le=MOST, description="Only positions after this: a page's `next`.")] = 0


class NewBackfill(Given):
    """A backfill to make. Both bounds count: an interval that begins at `end` is run, too."""

    project: Text | None = None
    pipeline: Text
    start: Annotated[datetime, Field(description="Where the first interval begins; without an offset, in `timezone`.")]
    end: Annotated[datetime, Field(description="Where the last one begins, or later.")]
    interval: Annotated[Text, Field(description="`day`, `2 hours`, `15 minutes` and the like.")] = "day"
    timezone: Annotated[Text, Field(description="The zone whose calendar days and longer intervals follow.")] = "UTC"
    reprocess: Annotated[
        Reprocess, Field(description="Which intervals are run: those without a run, the failed ones too, or all.")
    ] = Reprocess.MISSING
    order: Annotated[Order, Field(description="The oldest interval first, or the newest.")] = Order.FORWARDS
    concurrency: Concurrency = 1
    pace: Pace = 0.0
    priority: Annotated[
        int, Field(ge=-MOST_PRIORITY, le=MOST_PRIORITY, description="Of its runs; live work has 0.")
    ] = PRIORITY
    variables: Variables = Field(default_factory=dict)


class BackfillChange(Given):
    """How fast a backfill is to go from now on."""

    concurrency: Concurrency | None = None
    pace: Pace | None = None


@dataclass(frozen=True, slots=True)
class BackfillPlan:
    """What a backfill would do now. `runs` and `left_out` count all intervals; `next` is the next page's `after`."""

    runs: int
    left_out: int
    items: tuple[PlannedIntervalView, ...]
    next: int | None


async def list_backfills(call: Call, query: BackfillsQuery) -> Page[BackfillView]:
    """List backfills, newest first, with what their intervals have come to."""
    found = await newest_backfills(
        call.served.opened,
        call.served.chosen_ids(query.project),
        limit=query.limit + 1,
        before=query.before,
        pipeline=query.pipeline,
        status=query.status,
    )
    return page_of([backfill_view(stored) for stored in found], query.limit, lambda backfill: backfill.id)


async def preview_backfill(call: Call, query: PlanQuery, body: NewBackfill) -> BackfillPlan:
    """Show what a backfill would run now, and make nothing."""
    planned = await call.served.intake.backfilling.preview(await _request(call, body, None))
    last = query.after + query.limit
    shown = planned_views(planned[query.after : last], after=query.after)
    runs = sum(item.wanted for item in planned)
    return BackfillPlan(runs, len(planned) - runs, tuple(shown), last if last < len(planned) else None)


async def make_backfill(call: Call, headers: StartHeaders, body: NewBackfill) -> BackfillView:
    """Make a backfill of what the preview shows; a service makes its runs.

    With an `Idempotency-Key` it is made once: the same key again gives the same backfill.
    """
    number = await call.served.intake.backfilling.create(await _request(call, body, headers.key))
    call.headers["Location"] = f"/api/v1/backfills/{number}"
    return await _told(call, number)


async def show_backfill(call: Call, path: BackfillPath) -> BackfillView:
    """Show a backfill and what its intervals have come to."""
    return backfill_view(await _stored(call.served, path.backfill))


async def list_intervals(call: Call, path: BackfillPath, query: IntervalsQuery) -> Page[IntervalView]:
    """List the intervals of a backfill with their runs; `next` is the `after` of the next page."""
    await _stored(call.served, path.backfill)
    rows = await backfill_intervals(
        call.served.opened, path.backfill, limit=query.limit + 1, after=query.after, state=query.state
    )
    return page_of([interval_view(row) for row in rows], query.limit, lambda interval: interval.position)


async def change_backfill(call: Call, path: BackfillPath, body: BackfillChange) -> BackfillView:
    """Change how fast a backfill goes, while it runs; what is left out stays as it is."""
    await _stored(call.served, path.backfill)
    await call.served.intake.backfilling.change(path.backfill, concurrency=body.concurrency, pace=body.pace)
    return await _told(call, path.backfill)


async def pause_backfill(call: Call, path: BackfillPath) -> BackfillView:
    """Let a backfill make no more runs for now; those under way go on."""
    return await _steered(call, path.backfill, Backfilling.pause)


async def resume_backfill(call: Call, path: BackfillPath) -> BackfillView:
    """Let a paused backfill go on."""
    return await _steered(call, path.backfill, Backfilling.resume)


async def cancel_backfill(call: Call, path: BackfillPath) -> BackfillView:
    """End a backfill: what waits is dropped, and the runs under way are cancelled."""
    return await _steered(call, path.backfill, Backfilling.cancel)


async def retry_backfill(call: Call, path: BackfillPath) -> BackfillView:
    """Run again what did not complete in a backfill that has ended."""
    return await _steered(call, path.backfill, Backfilling.retry)


async def _request(call: Call, body: NewBackfill, key: str | None) -> BackfillRequest:
    headrace = call.served.project(body.project)
    await asyncio.to_thread(headrace.pipeline, body.pipeline)
    wish = BackfillWish(
        body.pipeline,
        body.start,
        body.end,
        body.interval,
        body.timezone,
        body.reprocess,
        body.order,
        body.concurrency,
        body.pace,
        body.priority,
        body.variables,
        key,
    )
    return wish.request(headrace.project_id)


async def _steered(call: Call, number: int, steer: Callable[[Backfilling, int], Awaitable[object]]) -> BackfillView:
    await _stored(call.served, number)
    await steer(call.served.intake.backfilling, number)
    return await _told(call, number)


async def _told(call: Call, number: int) -> BackfillView:
    """A backfill that was made or changed just now; services hear of it."""
    call.served.intake.backfills.wake()
    await call.served.opened.waker.wake()
    return backfill_view(await call.served.intake.backfilling.show(number))


async def _stored(served: Served, number: int) -> StoredBackfill:
    """A backfill of a project that is served here. Raises UnknownBackfill."""
    stored = await stored_backfill(served.opened, number)
    if stored is None or stored.project_id not in served.project_ids:
        raise UnknownBackfill(f"There is no backfill {number}.", remedy="GET /api/v1/backfills lists those there are.")
    return stored


_CANNOT_MAKE = (
    "unknown-project", "project-needed", "unknown-pipeline", "project-fault", "bad-backfill", "bad-interval",
    "unusable-variable",
)  # fmt: skip
_CANNOT_STEER = ("unknown-backfill", "backfill-cannot")

ROUTES = (
    Route("GET", "/api/v1/backfills", Scope.READ, list_backfills, problems=("unknown-project",)),
    Route("POST", "/api/v1/backfills", Scope.RUN, make_backfill, 201, _CANNOT_MAKE),
    Route("POST", "/api/v1/backfills/preview", Scope.READ, preview_backfill, problems=_CANNOT_MAKE),
    Route("GET", "/api/v1/backfills/{backfill}", Scope.READ, show_backfill, problems=("unknown-backfill",)),
    Route("PATCH", "/api/v1/backfills/{backfill}", Scope.RUN, change_backfill, problems=_CANNOT_STEER),
    Route("GET", "/api/v1/backfills/{backfill}/intervals", Scope.READ, list_intervals, problems=("unknown-backfill",)),
    Route("POST", "/api/v1/backfills/{backfill}/pause", Scope.RUN, pause_backfill, problems=_CANNOT_STEER),
    Route("POST", "/api/v1/backfills/{backfill}/resume", Scope.RUN, resume_backfill, problems=_CANNOT_STEER),
    Route("POST", "/api/v1/backfills/{backfill}/cancel", Scope.RUN, cancel_backfill, 202, _CANNOT_STEER),
    Route("POST", "/api/v1/backfills/{backfill}/retry", Scope.RUN, retry_backfill, problems=_CANNOT_STEER),
)
