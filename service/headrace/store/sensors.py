"""Sensors in the database: leases and fencing, cursors that move with their events, health, and what people ask for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from headrace.domain.errors import HeadraceError
from headrace.store.database import Database
from headrace.store.queries import QUERIES

STATEMENT_SECONDS = 30.0
IDLE_MILLISECONDS = 5000
"""Between two statements of the transaction of a delivery, at most."""


class UnknownSensor(HeadraceError):
    """The project has no sensor of this name."""

    code = "unknown-sensor"


class NoSuchCursor(HeadraceError):
    """No cursor of a sensor is kept from that time."""

    code = "no-such-cursor"


@dataclass(frozen=True, slots=True)
class ClaimedSensor:
    """A sensor that this service holds under fencing token `fence`; its next look is due in `due_in` seconds."""

    id: int
    name: str
    fence: int
    seq: int
    cursor: Any
    round: int
    failures: int
    due_in: float


@dataclass(frozen=True, slots=True)
class Advance:
    """A delivery that is to be counted; `cursor` moves where `moves_cursor`."""

    sensor: int
    service: UUID
    fence: int
    seq: int
    events: int
    lag: float | None = None
    moves_cursor: bool = False
    cursor: Any = None


@dataclass(frozen=True, slots=True)
class LookNote:
    """What a look came to: seconds since it began and until the next one."""

    sensor: int
    fence: int
    ago: float
    due_in: float
    late: float
    failures: int
    error: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class SensorView:
    """A sensor as people see it; `lag` and `late` in seconds."""

    id: int
    project: str
    name: str
    state: str
    """`paused`, `failing`, `looking`, `unheard` (no active trigger listens) or `waiting` (for a service)."""
    cursor: Any
    looked_at: datetime | None
    next_look_at: datetime | None
    late: float | None
    delivered: int
    delivered_at: datetime | None
    lag: float | None
    failures: int
    error: Mapping[str, Any] | None
    error_at: datetime | None
    paused_at: datetime | None
    service: str | None
    """Host and pid of the service that looks for it."""
    triggers: tuple[str, ...]
    settings: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class SensorFigures:
    """What is counted of a sensor; times in seconds."""

    project: str
    name: str
    state: str
    looked_ago: float | None
    gave_ago: float | None
    lag: float | None
    failures: int
    delivered: int


@dataclass(frozen=True, slots=True)
class KeptCursor:
    """A cursor as it was."""

    cursor: Any
    kept_at: datetime


async def keep_sensors(database: Database, project_id: int, settings: Mapping[str, Mapping[str, Any]]) -> None:
    """Record sensors of a project by name."""
    names = sorted(settings)
    await database.execute(QUERIES["keep_sensors"], project_id, names, [settings[name] for name in names])


async def renew_sensor_lease(database: Database, service: UUID, host: str, pid: int, seconds: float) -> dict[int, int]:
    """Prolong a service's lease to `seconds` from now; the fencing token of each sensor that it holds, by id."""
    rows = await database.fetch(QUERIES["renew_sensor_lease"], service, host, pid, seconds)
    return {row["id"]: row["fence"] for row in rows}


async def claim_sensors(
    database: Database, service: UUID, project_id: int, names: Sequence[str], running: Sequence[int]
) -> list[ClaimedSensor]:
    """Take those of the named sensors that no live service holds; `running` are those that this one runs already."""
    rows = await database.fetch(QUERIES["claim_sensors"], service, project_id, list(names), list(running))
    return [ClaimedSensor(**row) for row in rows]


async def release_sensors(database: Database, service: UUID, sensors: Sequence[int] | None = None) -> None:
    """Give back sensors of a service; all of them, and its lease, where none are named."""
    await database.execute(QUERIES["release_sensors"], service, None if sensors is None else list(sensors))
    if sensors is None:
        await database.execute(QUERIES["forget_sensor_service"], service)


async def advance_sensor(connection: Any, advance: Advance) -> bool:
    """Count a delivery in the caller's transaction; false where the sensor is not held any more, or stands elsewhere.

    The sensor's row stays locked until the transaction ends, so that nobody takes it over in between.
    """
    seq = await connection.fetchval(
        QUERIES["advance_sensor"],
        advance.sensor,
        advance.service,
        advance.fence,
        advance.seq,
        advance.moves_cursor,
        advance.cursor,
        advance.events,
        advance.lag,
        str(IDLE_MILLISECONDS),
        timeout=STATEMENT_SECONDS,
    )
    return seq is not None


async def is_advanced(database: Database, advance: Advance) -> bool:
    """Whether a delivery had been committed although its answer never came."""
    row = await database.fetchrow(QUERIES["sensor_stand"], advance.sensor)
    return row is not None and (row["owner"], row["fence"], row["seq"]) == (
        advance.service,
        advance.fence,
        advance.seq,
    )


async def note_looks(database: Database, service: UUID, notes: Sequence[LookNote]) -> None:
    """Record what looks came to, in one statement."""
    await database.execute(
        QUERIES["note_looks"],
        service,
        [note.sensor for note in notes],
        [note.fence for note in notes],
        [note.ago for note in notes],
        [note.due_in for note in notes],
        [note.late for note in notes],
        [note.failures for note in notes],
        [note.error for note in notes],
    )


async def sensor_views(database: Database, project_id: int, name: str | None = None) -> list[SensorView]:
    """The sensors of a project by name. Raises UnknownSensor where the one that is named does not exist."""
    rows = await database.fetch(QUERIES["sensors"], [project_id], name, None)
    if name is not None and not rows:
        raise await _unknown(database, project_id, name)
    return [_view(row) for row in rows]


async def sensors_of(database: Database, projects: Sequence[int]) -> list[SensorView]:
    """The sensors of some projects, by project and name."""
    return [_view(row) for row in await database.fetch(QUERIES["sensors"], list(projects), None, None)]


async def sensor_of_id(database: Database, projects: Sequence[int], sensor: int) -> tuple[int, SensorView]:
    """The project's id and the sensor of an id, if it is one of these projects'. Raises UnknownSensor."""
    row = await database.fetchrow(QUERIES["sensors"], list(projects), None, sensor)
    if row is None:
        raise UnknownSensor(f"There is no sensor {sensor}.", remedy="GET /api/v1/sensors lists those there are.")
    return row["project_id"], _view(row)


async def sensor_figures(database: Database, projects: Sequence[int]) -> list[SensorFigures]:
    """What is counted of the sensors of some projects."""
    return [
        SensorFigures(
            row["project"],
            row["name"],
            _state(row),
            row["looked_ago"],
            row["gave_ago"],
            row["lag"],
            row["failures"],
            row["delivered"],
        )
        for row in await database.fetch(QUERIES["sensor_figures"], list(projects))
    ]


def _view(row: Mapping[str, Any]) -> SensorView:
    return SensorView(
        id=row["id"],
        project=row["project"],
        name=row["name"],
        state=_state(row),
        cursor=row["cursor"],
        looked_at=row["looked_at"],
        next_look_at=row["next_look_at"],
        late=row["late"],
        delivered=row["delivered"],
        delivered_at=row["delivered_at"],
        lag=row["lag"],
        failures=row["failures"],
        error=row["error"],
        error_at=row["error_at"],
        paused_at=row["paused_at"],
        service=None if row["host"] is None else f"{row['host']}:{row['pid']}",
        triggers=tuple(row["triggers"]),
        settings=row["settings"],
    )


def _state(row: Mapping[str, Any]) -> str:
    if row["paused_at"] is not None:
        return "paused"
    if not row["triggers"]:
        return "unheard"
    if row["host"] is None:
        return "waiting"
    return "failing" if row["failures"] else "looking"


async def pause_sensor(database: Database, project_id: int, name: str) -> None:
    """Stop looking for a sensor; what it is delivering just then is not committed. Raises UnknownSensor."""
    await _asked(database, project_id, name, "pause_sensor")


async def resume_sensor(database: Database, project_id: int, name: str) -> None:
    """Look for a sensor again, from its cursor on. Raises UnknownSensor."""
    await _asked(database, project_id, name, "resume_sensor")


async def set_sensor_cursor(database: Database, project_id: int, name: str, cursor: Any, *, again: bool) -> None:
    """Let a sensor go on from `cursor`; None for its beginning. Raises UnknownSensor.

    Events whose keys were accepted before make no second run, except with `again`.
    """
    await _asked(database, project_id, name, "set_sensor_cursor", cursor, again)


async def rewind_sensor(database: Database, project_id: int, name: str, to: datetime, *, again: bool) -> KeptCursor:
    """Let a sensor go on from where its cursor stood at a time. Raises UnknownSensor and NoSuchCursor."""
    row = await database.fetchrow(QUERIES["sensor_cursor_at"], project_id, name, to)
    if row is None:
        (view,) = await sensor_views(database, project_id, name)
        kept = await kept_cursors(database, project_id, view.name, limit=1000)
        oldest = kept[-1].kept_at.isoformat(timespec="seconds") if kept else "none"
        raise NoSuchCursor(
            f"No cursor of sensor {name} is kept from {to.isoformat(timespec='seconds')}; the oldest one: {oldest}.",
            remedy="Name a later time, or set the cursor itself.",
        )
    await set_sensor_cursor(database, project_id, name, row["cursor"], again=again)
    return KeptCursor(row["cursor"], row["kept_at"])


async def kept_cursors(database: Database, project_id: int, name: str, *, limit: int = 20) -> list[KeptCursor]:
    """The cursors of a sensor that can be gone back to, newest first."""
    rows = await database.fetch(QUERIES["sensor_cursors"], project_id, name, limit)
    return [KeptCursor(**row) for row in rows]


async def _asked(database: Database, project_id: int, name: str, query: str, *arguments: Any) -> None:
    if await database.fetchval(QUERIES[query], project_id, name, *arguments) is None:
        raise await _unknown(database, project_id, name)


async def _unknown(database: Database, project_id: int, name: str) -> UnknownSensor:
    rows = await database.fetch(QUERIES["sensors"], [project_id], None, None)
    known = ", ".join(row["name"] for row in rows) or "none"
    return UnknownSensor(f"There is no sensor {name}.", remedy=f"Sensors of this project: {known}.")
