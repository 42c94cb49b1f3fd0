"""The commands on sensors: list, show, pause, resume, cursor."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from rich.table import Table

from headrace.domain.errors import HeadraceError
from headrace.engine.headrace import Headrace
from headrace.service import open_headrace
from headrace.store.sensors import (
    SensorView,
    kept_cursors,
    pause_sensor,
    resume_sensor,
    rewind_sensor,
    sensor_views,
    set_sensor_cursor,
)
from headrace.terminal.errors import ExitCode
from headrace.terminal.looks import counted, moment
from headrace.terminal.screen import Screen

_BACK = re.compile(r"(\d{1,6})\s*([smhd])")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_STYLES = {"looking": "green", "failing": "red", "paused": "magenta", "waiting": "yellow", "unheard": "dim"}
_MEANINGS = {
    "unheard": "no active trigger listens to it",
    "waiting": "no service looks for it: `headrace start` does",
}


class BadCursor(HeadraceError):
    """A cursor cannot be put as it was asked for."""

    code = "bad-cursor"


@dataclass(frozen=True, slots=True)
class CursorWish:
    """Where a sensor is to go on, as the command line takes it."""

    put: str | None
    rewind: str | None
    clear: bool
    again: bool

    @property
    def moves(self) -> bool:
        """Whether the cursor is to be put anywhere."""
        return self.put is not None or self.rewind is not None or self.clear or self.again

    def check(self) -> None:
        """Raises BadCursor where it says not exactly one place."""
        if sum((self.put is not None, self.rewind is not None, self.clear)) != 1:
            raise BadCursor("Where is the sensor to go on?", remedy="Give one of --set, --rewind and --clear.")

    @property
    def cursor(self) -> Any:
        """The cursor that was given. Raises BadCursor."""
        try:
            return None if self.put is None else json.loads(self.put)
        except ValueError:
            raise BadCursor(
                f"{self.put!r} is no JSON.", remedy="Put texts in quotes of their own: '\"text\"'."
            ) from None

    @property
    def moment(self) -> datetime:
        """The time to go back to. Raises BadCursor."""
        text = str(self.rewind)
        back = _BACK.fullmatch(text)
        if back is None:
            return _local_time(text)
        return datetime.now(UTC) - timedelta(seconds=int(back[1]) * _UNITS[back[2]])


def _local_time(text: str) -> datetime:
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise BadCursor(f"{text!r} is no time.", remedy="Write 2h, 3d or 2026-05-01T12:00.") from None
    return time.astimezone()


async def list_sensors(screen: Screen) -> ExitCode:
    """Print the project's sensors by name."""
    async with open_headrace(screen.project, drive=False) as headrace:
        views = await sensor_views(headrace.database, headrace.project_id)
    if screen.is_json:
        screen.out.write_json(views)
    elif not views:
        screen.out.say("There are no sensors yet: a trigger of the type sensor names one, and a service looks for it.")
    else:
        screen.out.print(_table(views))
    return ExitCode.COMPLETED


def _table(views: list[SensorView]) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in ("sensor", "state", "last look", "events", "last event", "lag", "failures", "cursor"):
        table.add_column(name, overflow="ellipsis" if name == "cursor" else "fold", no_wrap=name == "cursor")
    for view in views:
        table.add_row(
            view.name,
            f"[{_STYLES[view.state]}]{view.state}[/]",
            moment(view.looked_at),
            f"{view.delivered:,}",
            moment(view.delivered_at),
            _seconds(view.lag),
            str(view.failures or ""),
            _short(view.cursor),
        )
    return table


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value:.1f} s"


def _short(cursor: Any) -> str:
    return "" if cursor is None else json.dumps(cursor, ensure_ascii=False)[:60].replace("[", r"\[")


async def show_sensor(screen: Screen, name: str) -> ExitCode:
    """Print how one sensor fares."""
    async with open_headrace(screen.project, drive=False) as headrace:
        (view,) = await sensor_views(headrace.database, headrace.project_id, name)
    if screen.is_json:
        screen.out.write_json(view)
        return ExitCode.COMPLETED
    _tell(screen, view)
    return ExitCode.COMPLETED


def _tell(screen: Screen, view: SensorView) -> None:
    meaning = _MEANINGS.get(view.state)
    screen.out.say(f"{view.name}: {view.state}" + (f" ({screen.spelling.spelled(meaning)})" if meaning else ""), "bold")
    lines = {
        "triggers": ", ".join(view.triggers) or "none",
        "service": view.service or "none",
        "last look": moment(view.looked_at) + (f", {_seconds(view.late)} late" if (view.late or 0) >= 0.1 else ""),
        "next look": moment(view.next_look_at),
        "events": f"{view.delivered:,}, the last one {moment(view.delivered_at)}" if view.delivered else "none yet",
        "lag": _seconds(view.lag),
        "cursor": "" if view.cursor is None else json.dumps(view.cursor, ensure_ascii=False),
    }
    for label, text in lines.items():
        if text:
            screen.out.say(f"  {label:<9}  {text}")
    if view.error is not None:
        again = f", {counted(view.failures, 'failure')} in a row" if view.failures else ", over by now"
        screen.out.say(f"  {'error':<9}  {moment(view.error_at)}{again}")
        screen.out.say(str(view.error.get("text") or view.error.get("message", "")).rstrip())


async def pause_one(screen: Screen, name: str) -> ExitCode:
    """Pause a sensor."""
    async with open_headrace(screen.project, drive=False) as headrace:
        await pause_sensor(headrace.database, headrace.project_id, name)
    screen.out.say(f"{name} is paused: {screen.command('sensors', 'resume', name)} goes on")
    return ExitCode.COMPLETED


async def resume_one(screen: Screen, name: str) -> ExitCode:
    """Resume a sensor."""
    async with open_headrace(screen.project, drive=False) as headrace:
        await resume_sensor(headrace.database, headrace.project_id, name)
    screen.out.say(f"{name} is looked for again")
    return ExitCode.COMPLETED


async def show_cursors(screen: Screen, name: str) -> ExitCode:
    """Print a sensor's cursor and those that it had before."""
    async with open_headrace(screen.project, drive=False) as headrace:
        (view,) = await sensor_views(headrace.database, headrace.project_id, name)
        kept = await kept_cursors(headrace.database, headrace.project_id, name)
    if screen.is_json:
        screen.out.write_json(
            {"cursor": view.cursor, "kept": [{"cursor": k.cursor, "kept_at": k.kept_at} for k in kept]}
        )
        return ExitCode.COMPLETED
    screen.out.say(json.dumps(view.cursor, ensure_ascii=False))
    for each in kept:
        screen.out.say(f"  {moment(each.kept_at)}  {json.dumps(each.cursor, ensure_ascii=False)}", "dim")
    return ExitCode.COMPLETED


async def put_cursor(screen: Screen, name: str, wish: CursorWish) -> ExitCode:
    """Put a sensor's cursor where it was asked for."""
    wish.check()
    async with open_headrace(screen.project, drive=False) as headrace:
        cursor = await _put(headrace, name, wish)
    if screen.is_json:
        screen.out.write_json({"cursor": cursor})
    else:
        screen.out.say(f"{name} goes on from {'the beginning' if cursor is None else json.dumps(cursor)}")
    return ExitCode.COMPLETED


async def _put(headrace: Headrace, name: str, wish: CursorWish) -> Any:
    database, project = headrace.database, headrace.project_id
    if wish.rewind is not None:
        return (await rewind_sensor(database, project, name, wish.moment, again=wish.again)).cursor
    cursor = wish.cursor
    await set_sensor_cursor(database, project, name, cursor, again=wish.again)
    return cursor
