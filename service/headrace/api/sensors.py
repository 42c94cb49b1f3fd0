"""Sensors: how each fares, pausing it, and where it goes on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from pydantic import ConfigDict, Field, JsonValue

from headrace.api.fields import Given, Id, Moment
from headrace.api.hiding import without_secrets
from headrace.api.problems import InvalidRequest
from headrace.api.projects import ProjectQuery
from headrace.api.routes import Call, Route
from headrace.domain.scopes import Scope
from headrace.project.plain import NotPlain, plain
from headrace.store.sensors import (
    KeptCursor,
    SensorView,
    kept_cursors,
    pause_sensor,
    resume_sensor,
    rewind_sensor,
    sensor_of_id,
    sensors_of,
    set_sensor_cursor,
)

MOST_BACK = 366 * 86400.0

Again = Annotated[bool, Field(description="Events whose keys were accepted before make runs once more.")]


class SensorPath(Given):
    """Which sensor."""

    sensor: Id


class CursorsQuery(Given):
    """How many of the cursors that a sensor had."""

    limit: Annotated[int, Field(ge=1, le=1000, description="Cursors at most.")] = 50


class NewCursor(Given):
    """Where a sensor is to go on; null for its very beginning."""

    cursor: JsonValue
    again: Again = False


class Rewind(Given):
    """A time to go back to: `to` itself, or `back` seconds from now."""

    model_config = ConfigDict(json_schema_extra={"oneOf": [{"required": ["to"]}, {"required": ["back"]}]})

    to: Moment | None = None
    back: Annotated[float | None, Field(ge=0, le=MOST_BACK, allow_inf_nan=False)] = None
    again: Again = False


@dataclass(frozen=True, slots=True)
class SensorList:
    """Every sensor of the projects asked for, by project and name."""

    items: tuple[SensorView, ...]


@dataclass(frozen=True, slots=True)
class CursorList:
    """Where a sensor goes on, and cursors that it had before, newest first."""

    cursor: Any
    items: tuple[KeptCursor, ...]


async def list_sensors(call: Call, query: ProjectQuery) -> SensorList:
    """List sensors with the health of each.

    `state` is `looking`, `failing`, `paused`, `waiting` (for a service that looks) or `unheard` (no active trigger
    listens). `lag` is how long the newest event took from when it happened to its commit, `late` by how much the last
    look began too late, both in seconds; `service` is who looks.
    """
    found = await sensors_of(call.served.opened, call.served.chosen_ids(query.project))
    return SensorList(tuple(map(_shown, found)))


async def show_sensor(call: Call, path: SensorPath) -> SensorView:
    """Show how a sensor fares: its last look, its cursor, its last error."""
    return _shown((await _sensor(call, path))[1])


async def pause_looking(call: Call, path: SensorPath) -> SensorView:
    """Stop looking for a sensor until it is resumed; what it gives just now is not taken in."""
    project, view = await _sensor(call, path)
    await pause_sensor(call.served.opened, project, view.name)
    return await show_sensor(call, path)


async def resume_looking(call: Call, path: SensorPath) -> SensorView:
    """Look for a sensor again, at once and from its cursor on."""
    project, view = await _sensor(call, path)
    await resume_sensor(call.served.opened, project, view.name)
    return await show_sensor(call, path)


async def list_cursors(call: Call, path: SensorPath, query: CursorsQuery) -> CursorList:
    """List the cursors that a sensor had and can be rewound to."""
    project, view = await _sensor(call, path)
    kept = await kept_cursors(call.served.opened, project, view.name, limit=query.limit)
    return CursorList(view.cursor, tuple(kept))


async def put_cursor(call: Call, path: SensorPath, body: NewCursor) -> SensorView:
    """Have a sensor go on from a cursor."""
    project, view = await _sensor(call, path)
    await set_sensor_cursor(call.served.opened, project, view.name, _kept(body.cursor), again=body.again)
    return await show_sensor(call, path)


async def rewind_cursor(call: Call, path: SensorPath, body: Rewind) -> SensorView:
    """Have a sensor go on from where its cursor stood at a time."""
    project, view = await _sensor(call, path)
    await rewind_sensor(call.served.opened, project, view.name, _moment(body), again=body.again)
    return await show_sensor(call, path)


async def _sensor(call: Call, path: SensorPath) -> tuple[int, SensorView]:
    """The project's id and the sensor, of a project that is served here. Raises UnknownSensor."""
    return await sensor_of_id(call.served.opened, call.served.project_ids, path.sensor)


def _shown(view: SensorView) -> SensorView:
    return replace(view, settings=without_secrets(view.settings))


def _kept(cursor: Any) -> Any:
    try:
        return plain(cursor)
    except NotPlain as error:
        raise InvalidRequest(
            f"The cursor cannot be kept: {error}.", ({"where": "body.cursor", "told": str(error)},)
        ) from error


def _moment(body: Rewind) -> datetime:
    if (body.to is None) == (body.back is None):
        raise InvalidRequest("How far is the sensor to go back?", remedy="Give one of `to` and `back`.")
    return body.to if body.to is not None else datetime.now(UTC) - timedelta(seconds=body.back or 0)


_UNKNOWN = ("unknown-sensor",)

ROUTES = (
    Route("GET", "/api/v1/sensors", Scope.READ, list_sensors, problems=("unknown-project",)),
    Route("GET", "/api/v1/sensors/{sensor}", Scope.READ, show_sensor, problems=_UNKNOWN),
    Route("POST", "/api/v1/sensors/{sensor}/pause", Scope.EDIT, pause_looking, problems=_UNKNOWN),
    Route("POST", "/api/v1/sensors/{sensor}/resume", Scope.EDIT, resume_looking, problems=_UNKNOWN),
    Route("GET", "/api/v1/sensors/{sensor}/cursors", Scope.READ, list_cursors, problems=_UNKNOWN),
    Route("PUT", "/api/v1/sensors/{sensor}/cursor", Scope.EDIT, put_cursor, problems=_UNKNOWN),
    Route(
        "POST",
        "/api/v1/sensors/{sensor}/rewind",
        Scope.EDIT,
        rewind_cursor,
        problems=(*_UNKNOWN, "no-such-cursor"),
    ),
)
