"""Schedules: how far each has come, its next slots, and its gaps: slots without a good run."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

from pydantic import Field

from headrace.api.backfills import Concurrency
from headrace.api.fields import Given, Moment
from headrace.api.projects import ProjectQuery
from headrace.api.routes import Call, Route
from headrace.api.triggers import TriggerPath, served_trigger
from headrace.domain.errors import HeadraceError
from headrace.domain.scopes import Scope
from headrace.domain.triggers import Trigger, TriggerKind, TriggerStatus, trigger_from_json
from headrace.store.schedules import CatchingUp, Progress, Source, catching_up_of, progress_of
from headrace.store.triggers import GivenTrigger, TriggerRow, triggers_of
from headrace.triggers.gaps import GapSearch, SlotGap
from headrace.triggers.previewing import SlotPreview, preview_slots, schedule_of
from headrace.triggers.watching import ScheduleStanding


class BrokenTrigger(HeadraceError):
    """A trigger cannot be read; the message tells why."""

    code = "broken-trigger"


class SlotsQuery(Given):
    """How many slots, and from when on."""

    limit: Annotated[int, Field(ge=1, le=1000, description="Slots at most.")] = 20
    after: Annotated[Moment | None, Field(description="Only slots after this moment; now if left out.")] = None


class GapsQuery(Given):
    """From when on gaps are looked for."""

    since: Annotated[
        Moment | None,
        Field(description="Slots after this moment; if left out, 30 days, or since the schedule counts."),
    ] = None


class GapFilling(Given):
    """Which gaps are to be filled, and how fast."""

    since: Annotated[Moment | None, Field(description="As for the gaps that are shown.")] = None
    concurrency: Concurrency = 1


@dataclass(frozen=True, slots=True)
class Made:
    """Slots that passed while no service ran and are still to be made up for: after one moment, up to another."""

    after: datetime
    until: datetime


@dataclass(frozen=True, slots=True)
class ScheduleView:
    """How far a schedule has come. What is null is not known, or not there.

    `last_slot` is the newest slot that became an event. The rest is told by the service that is asked: `late` is by how
    many seconds the last slot that it accepted first of all came too late, `overdue` counts slots that should be events
    and are none.
    """

    trigger: int
    project: str
    pipeline: str
    name: str
    status: str
    expressions: tuple[str, ...]
    timezone: str
    last_slot: datetime | None
    next_slot: datetime | None
    late: float | None
    overdue: int | None
    overdue_by: float | None
    gaps: int | None
    """Slots without a good run; null where it was not looked yet."""
    catching_up: Made | None


@dataclass(frozen=True, slots=True)
class ScheduleList:
    """Every schedule of the projects asked for, by project, pipeline and name; those that are broken are left out."""

    items: tuple[ScheduleView, ...]


@dataclass(frozen=True, slots=True)
class GapList:
    """Slots after `since` whose interval is over and that have no good run, the oldest first."""

    since: datetime
    items: tuple[SlotGap, ...]


@dataclass(frozen=True, slots=True)
class FilledGapList:
    """The gaps that were found, and the backfill that runs them; null where there were none."""

    since: datetime
    items: tuple[SlotGap, ...]
    backfill: int | None


async def list_schedules(call: Call, query: ProjectQuery) -> ScheduleList:
    """List schedules: the last slot of each, its next one, and whether it is late."""
    served = call.served
    rows = [
        (number, row)
        for number in sorted(served.chosen_ids(query.project), key=served.name_of)
        for row in await triggers_of(served.opened, number)
        if row.kind == TriggerKind.SCHEDULE and row.status != TriggerStatus.BROKEN
    ]
    progress = await progress_of(served.opened, [row.id for _, row in rows])
    catching_up = await catching_up_of(served.opened, [(number, row.source) for number, row in rows])
    standings, gaps = served.intake.timekeeper.standings(), served.intake.gap_watch.gaps
    return ScheduleList(
        tuple(
            _view(
                served.name_of(number),
                row,
                progress.get(row.id),
                standings.get(row.id),
                catching_up.get(source),
                gaps.get(row.id),
            )
            for number, row, source in _with_sources(rows)
        )
    )


async def preview_schedule(call: Call, path: TriggerPath, query: SlotsQuery) -> SlotPreview:
    """Show the next slots of a trigger, local and in UTC.

    `mark` is `plain`, `gap` (a local time that the clocks skip), `first` or `second` (one that they show twice);
    `left_out` tells that the trigger's policy makes no run of it, `remark` the same in words.
    """
    found = await served_trigger(call.served, path.trigger)
    trigger, enabled_at = _trigger(found), found.row.enabled_at if found.row.status == TriggerStatus.ACTIVE else None
    after = query.after or call.served.intake.timekeeper.now()
    return await asyncio.to_thread(preview_slots, trigger, query.limit, after, enabled_at)


async def list_gaps(call: Call, path: TriggerPath, query: GapsQuery) -> GapList:
    """List a trigger's gaps: slots that have no good run, and none that is under way or about to be made."""
    search, now = await _search(call, path), call.served.intake.timekeeper.now()
    since = query.since or await search.usual_start(now)
    return GapList(since, tuple(await search.find(since, now)))


async def fill_gaps(call: Call, path: TriggerPath, body: GapFilling) -> FilledGapList:
    """Fill a trigger's gaps: one backfill of exactly the slots that have no good run.

    Asked twice it fills them once: what a backfill is about to run is no gap any more.
    """
    search, now = await _search(call, path), call.served.intake.timekeeper.now()
    since = body.since or await search.usual_start(now)
    filled = await search.fill(since, now, concurrency=body.concurrency)
    if filled.backfill is not None:
        call.headers["Location"] = f"/api/v1/backfills/{filled.backfill}"
        call.served.intake.backfills.wake()
        await call.served.opened.waker.wake()
    return FilledGapList(since, filled.gaps, filled.backfill)


def _with_sources(rows: Iterable[tuple[int, TriggerRow]]) -> Iterable[tuple[int, TriggerRow, Source]]:
    return ((number, row, (number, row.source)) for number, row in rows)


def _view(
    project: str,
    row: TriggerRow,
    progress: Progress | None,
    standing: ScheduleStanding | None,
    catching_up: CatchingUp | None,
    gaps: int | None,
) -> ScheduleView:
    schedule = schedule_of(trigger_from_json(row.definition))
    return ScheduleView(
        trigger=row.id,
        project=project,
        pipeline=row.pipeline,
        name=row.name,
        status=row.status,
        expressions=schedule.expressions,
        timezone=schedule.timezone,
        last_slot=None if progress is None else progress.last_slot,
        next_slot=None if standing is None else standing.next_at,
        late=None if standing is None else standing.late,
        overdue=None if standing is None else standing.overdue,
        overdue_by=None if standing is None else standing.overdue_by,
        gaps=gaps,
        catching_up=None if catching_up is None else Made(catching_up.slots_after, catching_up.slots_until),
    )


async def _search(call: Call, path: TriggerPath) -> GapSearch:
    found = await served_trigger(call.served, path.trigger)
    trigger = _trigger(found)
    kept = await call.served.intake.gap_watch.kept(found.project_id, trigger.pipeline)
    return GapSearch(call.served.opened, found.project_id, trigger, schedule_of(trigger), kept)


def _trigger(found: GivenTrigger) -> Trigger:
    """The trigger of a row. Raises BrokenTrigger."""
    if found.row.status == TriggerStatus.BROKEN:
        raise BrokenTrigger(
            f"Trigger {found.row.name} of {found.row.pipeline} cannot be read: {found.row.reason}",
            remedy=f"Mend it in pipelines/{found.row.pipeline}/triggers.yaml.",
        )
    return trigger_from_json(found.row.definition)


_CANNOT = ("unknown-trigger", "not-a-schedule", "broken-trigger")

ROUTES = (
    Route("GET", "/api/v1/schedules", Scope.READ, list_schedules, problems=("unknown-project",)),
    Route("GET", "/api/v1/triggers/{trigger}/slots", Scope.READ, preview_schedule, problems=_CANNOT),
    Route("GET", "/api/v1/triggers/{trigger}/gaps", Scope.READ, list_gaps, problems=(*_CANNOT, "bad-interval")),
    Route("POST", "/api/v1/triggers/{trigger}/gaps/fill", Scope.RUN, fill_gaps, problems=(*_CANNOT, "bad-interval")),
)
