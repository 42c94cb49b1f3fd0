"""Triggers: those of files, as their files have them, and those that live in the database, made and changed here."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any
from uuid import uuid4

from aiohttp import web
from pydantic import Field, JsonValue

from headrace.api.auth import digest_of, new_token
from headrace.api.events import AcceptedEvent, accepted_event
from headrace.api.fields import Given, Id, Named, Text, Variables
from headrace.api.hiding import without_secrets
from headrace.api.problems import InvalidRequest
from headrace.api.projects import ProjectQuery
from headrace.api.routes import Call, Route
from headrace.api.runs import StartHeaders
from headrace.api.served import Served
from headrace.domain.errors import HeadraceError
from headrace.domain.events import NewEvent
from headrace.domain.scopes import Scope
from headrace.domain.triggers import TriggerKind, TriggerStatus
from headrace.store.tokens import keep_trigger_token
from headrace.store.triggers import (
    GivenTrigger,
    TriggerRow,
    trigger_row,
    triggers_of,
)
from headrace.triggers.given_triggers import (
    UnreadableTrigger,
    export_given,
    keep_given,
    read_given,
    remove_given,
    switch_given,
)
from headrace.triggers.naming import UnknownTrigger


class NotAnApiTrigger(HeadraceError):
    """A trigger is not one that is called."""

    code = "not-an-api-trigger"


class TriggerPath(Given):
    """Which trigger."""

    trigger: Id


class NewTrigger(Given):
    """A trigger to make, or to put in place of the one of its name; `trigger` has the keys of triggers.yaml."""

    project: Text | None = None
    pipeline: Text
    trigger: Named


class TriggerChange(Given):
    """What to change in a trigger."""

    active: bool


class TriggerCall(Given):
    """A call of an API trigger: variables of its run, and the event that it gets."""

    variables: Variables = Field(default_factory=dict)
    event: Annotated[JsonValue, Field(description="What the run's blocks get as `event`.")] = None


@dataclass(frozen=True, slots=True)
class TriggerView:
    """A trigger. `origin` is `file` or `api`; `definition` tells all that it says, secrets left out."""

    id: int
    project: str
    pipeline: str
    name: str
    kind: str
    origin: str
    source: str
    status: str
    reason: str | None
    definition: Mapping[str, Any]
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class TriggerList:
    """Every trigger of the projects asked for, by project, pipeline and name."""

    items: tuple[TriggerView, ...]


@dataclass(frozen=True, slots=True)
class TriggerToken:
    """A trigger's new token, told this once, and the address at which it is called with it."""

    token: str
    address: str


async def list_triggers(call: Call, query: ProjectQuery) -> TriggerList:
    """List triggers, broken and inactive ones too."""
    served = call.served
    found = [
        _view(served.name_of(number), row)
        for number in sorted(served.chosen_ids(query.project), key=served.name_of)
        for row in await triggers_of(served.opened, number)
    ]
    return TriggerList(tuple(found))


async def show_trigger(call: Call, path: TriggerPath) -> TriggerView:
    """Show a trigger."""
    found = await served_trigger(call.served, path.trigger)
    return _view(call.served.name_of(found.project_id), found.row)


async def make_trigger(call: Call, body: NewTrigger) -> TriggerView:
    """Make a trigger that lives in the database, or put it in place of the one of its name there."""
    headrace = call.served.project(body.project)
    await asyncio.to_thread(headrace.pipeline, body.pipeline)
    try:
        trigger = await asyncio.to_thread(read_given, body.trigger, body.pipeline, headrace.project.environ)
    except UnreadableTrigger as error:
        raise _invalid(error) from error
    return await _changed(call, await keep_given(call.served.opened, headrace.project_id, trigger, body.trigger))


async def change_trigger(call: Call, path: TriggerPath, body: TriggerChange) -> TriggerView:
    """Switch a trigger on or off that lives in the database."""
    found = await served_trigger(call.served, path.trigger)
    environ = call.served.projects[call.served.name_of(found.project_id)].project.environ
    try:
        number = await switch_given(call.served.opened, found, environ, active=body.active)
    except UnreadableTrigger as error:
        raise _invalid(error) from error
    return await _changed(call, number)


async def remove_trigger(call: Call, path: TriggerPath) -> TriggerView:
    """Switch off a trigger for good that lives in the database; its runs and events stay."""
    await remove_given(call.served.opened, await served_trigger(call.served, path.trigger))
    return await _changed(call, path.trigger)


async def export_triggers(call: Call, query: ProjectQuery) -> web.Response:
    """Export the triggers that live in the database as YAML: a document for each pipeline's triggers.yaml."""
    headrace = call.served.project(query.project)
    text = await export_given(call.served.opened, headrace.project_id)
    return web.Response(text=text, content_type="application/yaml")


async def renew_trigger_token(call: Call, path: TriggerPath) -> TriggerToken:
    """Give an API trigger a token of its own, which is told this once; the one it had before ends."""
    await _called(call.served, path.trigger)
    token = new_token()
    await keep_trigger_token(call.served.opened, path.trigger, digest_of(token))
    return TriggerToken(token, f"/api/pipeline_schedules/{path.trigger}/pipeline_runs/{token}")


async def call_trigger(call: Call, path: TriggerPath, headers: StartHeaders, body: TriggerCall) -> AcceptedEvent:
    """Call an API trigger; calls with one `Idempotency-Key` are one."""
    found = await _called(call.served, path.trigger)
    event = NewEvent(
        found.project_id,
        found.row.source,
        "call",
        headers.key or uuid4().hex,
        body.event,
        variables=body.variables,
    )
    return accepted_event(await call.served.intake.acceptor.accept(event))


async def served_trigger(served: Served, number: int) -> GivenTrigger:
    """A trigger of a project that is served here. Raises UnknownTrigger."""
    found = await trigger_row(served.opened, number)
    if found is None or found.project_id not in served.project_ids:
        raise UnknownTrigger(f"There is no trigger {number}.", remedy="GET /api/v1/triggers lists those there are.")
    return found


async def _called(served: Served, number: int) -> GivenTrigger:
    """An active trigger that is called. Raises UnknownTrigger, NotAnApiTrigger."""
    found = await served_trigger(served, number)
    if found.row.kind != TriggerKind.API or found.row.status != TriggerStatus.ACTIVE:
        raise NotAnApiTrigger(
            f"Trigger {number} is {found.row.status} and of the kind {found.row.kind}.",
            remedy="Only active API triggers are called.",
        )
    return found


def _invalid(error: UnreadableTrigger) -> InvalidRequest:
    errors = tuple(
        {"where": f"body.trigger.{fault.key}", "told": f"{fault.message} {fault.remedy}"} for fault in error.faults
    )
    return InvalidRequest(str(error), errors)


async def _changed(call: Call, number: int) -> TriggerView:
    """A trigger that was changed just now; it counts at once here, and within a second in other services."""
    await call.served.intake.book.look()
    found = await served_trigger(call.served, number)
    return _view(call.served.name_of(found.project_id), found.row)


def _view(project: str, row: TriggerRow) -> TriggerView:
    return TriggerView(
        id=row.id,
        project=project,
        pipeline=row.pipeline,
        name=row.name,
        kind=row.kind,
        origin=row.origin,
        source=row.source,
        status=row.status,
        reason=row.reason,
        definition=without_secrets(row.definition),
        created_at=row.created_at,
        updated_at=row.updated_at,
    )


_CANNOT_KEEP = ("unknown-project", "project-needed", "unknown-pipeline", "project-fault", "trigger-of-a-file")

ROUTES = (
    Route("GET", "/api/v1/triggers", Scope.READ, list_triggers, problems=("unknown-project",)),
    Route("POST", "/api/v1/triggers", Scope.EDIT, make_trigger, 201, _CANNOT_KEEP),
    Route(
        "GET",
        "/api/v1/triggers/export",
        Scope.EDIT,
        export_triggers,
        problems=("unknown-project", "project-needed"),
        media="application/yaml",
    ),
    Route("GET", "/api/v1/triggers/{trigger}", Scope.READ, show_trigger, problems=("unknown-trigger",)),
    Route(
        "PATCH",
        "/api/v1/triggers/{trigger}",
        Scope.EDIT,
        change_trigger,
        problems=("unknown-trigger", "trigger-of-a-file"),
    ),
    Route(
        "DELETE",
        "/api/v1/triggers/{trigger}",
        Scope.EDIT,
        remove_trigger,
        problems=("unknown-trigger", "trigger-of-a-file"),
    ),
    Route(
        "POST",
        "/api/v1/triggers/{trigger}/token",
        Scope.EDIT,
        renew_trigger_token,
        201,
        ("unknown-trigger", "not-an-api-trigger"),
    ),
    Route(
        "POST",
        "/api/v1/triggers/{trigger}/call",
        Scope.RUN,
        call_trigger,
        202,
        ("unknown-trigger", "not-an-api-trigger", "unacceptable-event"),
    ),
)
