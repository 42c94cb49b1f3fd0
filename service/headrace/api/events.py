"""Events: what came in, what became of it for each trigger, and accepting it again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any

from aiohttp import web
from pydantic import Field

from headrace.api.fields import Given, Id, Text
from headrace.api.pages import Page, PageQuery, page_of
from headrace.api.routes import Call, Route
from headrace.api.served import Served
from headrace.domain.events import Accepted, Fate
from headrace.domain.moments import told
from headrace.domain.scopes import Scope
from headrace.store.events import NO_MATCH, EventSummary, StoredEvent, StoredFate, newest_events, stored_event
from headrace.triggers.replaying import UnknownEvent
from headrace.triggers.waits import told_fates

MOST_REPLAYED = 1000


class FateChoice(StrEnum):
    """What became of an event, for some trigger."""

    RUN = Fate.RUN
    FILTERED = Fate.FILTERED
    SKIPPED = Fate.SKIPPED
    WAITING = Fate.WAITING
    BACKFILL = Fate.BACKFILL
    DEAD = Fate.DEAD
    NO_MATCH = NO_MATCH


class EventPath(Given):
    """Which event."""

    event: Id


class EventsQuery(PageQuery):
    """A page of events, newest first, of one project or source or fate."""

    project: Text | None = None
    source: Text | None = None
    fate: FateChoice | None = None


class Replay(Given):
    """Events to accept again."""

    events: Annotated[list[Id], Field(min_length=1, max_length=MOST_REPLAYED)]


@dataclass(frozen=True, slots=True)
class FateView:
    """What became of an event for a trigger; `trigger` is null for a start that somebody asked for."""

    trigger: int | None
    pipeline: str | None
    name: str | None
    fate: str
    reason: str | None
    run: int | None
    decided_at: datetime


@dataclass(frozen=True, slots=True)
class EventLine:
    """One line of a list of events. One without fates matched no trigger."""

    id: int
    project: str
    source: str
    kind: str
    key: str
    occurred_at: datetime
    received_at: datetime
    replay_of: int | None
    fates: tuple[FateView, ...]


@dataclass(frozen=True, slots=True)
class EventView:
    """An event as it was accepted. `body_bytes` is the size of the raw request, null where none was kept.

    `variables` and `execution_date` are what it hands to its runs beside its payload.
    """

    id: int
    project: str
    source: str
    kind: str
    key: str
    payload: Any
    headers: Mapping[str, str]
    body_bytes: int | None
    occurred_at: datetime
    received_at: datetime
    replay_of: int | None
    variables: Mapping[str, Any]
    execution_date: datetime | None
    fates: tuple[FateView, ...]


@dataclass(frozen=True, slots=True)
class AcceptedEvent:
    """An event that is committed, and the runs that it made."""

    id: int
    is_new: bool
    runs: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class AcceptedEvents:
    """Events that are committed, in the order in which they were given."""

    items: tuple[AcceptedEvent, ...]


async def list_events(call: Call, query: EventsQuery) -> Page[EventLine]:
    """List events, newest first, with what became of each."""
    served = call.served
    found = await newest_events(
        served.opened,
        served.chosen_ids(query.project),
        limit=query.limit + 1,
        before=query.before,
        source=query.source,
        fate=query.fate,
    )
    page = page_of(found, query.limit, lambda event: event.id)
    fates = await told_fates(served.opened, [event.id for event in page.items])
    return Page(tuple(_line(served, event, fates) for event in page.items), page.next)


async def show_event(call: Call, path: EventPath) -> EventView:
    """Show an event whole."""
    event = await _event(call.served, path.event)
    return EventView(
        id=event.id,
        project=call.served.name_of(event.project_id),
        source=event.source,
        kind=event.kind,
        key=event.key,
        payload=event.payload,
        headers=event.headers,
        body_bytes=None if event.body is None else len(event.body),
        occurred_at=event.occurred_at,
        received_at=event.received_at,
        replay_of=event.replay_of,
        variables=told(event.variables or {}),
        execution_date=event.execution_date,
        fates=tuple(map(_fate, await told_fates(call.served.opened, [event.id]))),
    )


async def download_body(call: Call, path: EventPath) -> web.Response:
    """Download the body of an event's request as it came; empty where none was kept."""
    event = await _event(call.served, path.event)
    return web.Response(body=event.body or b"", content_type="application/octet-stream")


async def replay_event(call: Call, path: EventPath) -> AcceptedEvent:
    """Accept an event again, as a new one: triggers decide anew; a start starts its pipeline as it is now."""
    await _event(call.served, path.event)
    return accepted_event(await call.served.intake.replayer.replay(path.event))


async def replay_events(call: Call, body: Replay) -> AcceptedEvents:
    """Accept several events again, in their order."""
    for event in body.events:
        await _event(call.served, event)
    return AcceptedEvents(tuple(map(accepted_event, await call.served.intake.replayer.replay_all(body.events))))


def accepted_event(accepted: Accepted) -> AcceptedEvent:
    """A committed event as the API tells it."""
    return AcceptedEvent(accepted.event, accepted.is_new, accepted.runs)


async def _event(served: Served, number: int) -> StoredEvent:
    """An event of a project that is served here. Raises UnknownEvent."""
    event = await stored_event(served.opened, number)
    if event is None or event.project_id not in served.project_ids:
        raise UnknownEvent(f"There is no event {number}.", remedy="GET /api/v1/events lists the events there are.")
    return event


def _line(served: Served, event: EventSummary, fates: Iterable[StoredFate]) -> EventLine:
    return EventLine(
        id=event.id,
        project=served.name_of(event.project_id),
        source=event.source,
        kind=event.kind,
        key=event.key,
        occurred_at=event.occurred_at,
        received_at=event.received_at,
        replay_of=event.replay_of,
        fates=tuple(_fate(fate) for fate in fates if fate.event_id == event.id),
    )


def _fate(fate: StoredFate) -> FateView:
    return FateView(fate.trigger_id, fate.pipeline, fate.name, fate.fate, fate.reason, fate.run_id, fate.decided_at)


_CANNOT_REPLAY = ("unknown-event", "unacceptable-event", "unknown-pipeline", "project-fault", "unusable-variable")

ROUTES = (
    Route("GET", "/api/v1/events", Scope.READ, list_events, problems=("unknown-project",)),
    Route("POST", "/api/v1/events/replay", Scope.RUN, replay_events, 201, _CANNOT_REPLAY),
    Route("GET", "/api/v1/events/{event}", Scope.READ, show_event, problems=("unknown-event",)),
    Route(
        "GET",
        "/api/v1/events/{event}/body",
        Scope.READ,
        download_body,
        problems=("unknown-event",),
        media="application/octet-stream",
    ),
    Route(
        "POST",
        "/api/v1/events/{event}/replay",
        Scope.RUN,
        replay_event,
        201,
        _CANNOT_REPLAY,
    ),
)
