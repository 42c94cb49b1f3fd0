"""The commands on backfills: showing what one would run, making it, and steering it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from rich.table import Table

from headrace.domain.backfills import Order, PlannedInterval, Reprocess
from headrace.domain.errors import HeadraceError
from headrace.domain.intervals import read_every
from headrace.engine.headrace import Headrace
from headrace.service import open_headrace
from headrace.store.backfills import StoredBackfill, backfill_intervals, newest_backfills
from headrace.terminal.errors import ExitCode
from headrace.terminal.looks import counted, moment
from headrace.terminal.screen import Screen
from headrace.triggers.backfilling import Backfilling, BackfillRequest

MOST_SHOWN = 50


class BadBackfill(HeadraceError):
    """A backfill cannot be made as it was asked for."""

    code = "bad-backfill"


@dataclass(frozen=True, slots=True)
class BackfillWish:
    """A backfill as the command line takes it; times are local ones of `timezone`."""

    pipeline: str
    start: datetime
    end: datetime
    every: str
    timezone: str
    reprocess: str
    order: str
    concurrency: int
    pace: float
    variables: tuple[str, ...]

    def request(self, headrace: Headrace) -> BackfillRequest:
        """The request, its words understood. Raises BadBackfill, BadInterval, ProjectFault."""
        headrace.pipeline(self.pipeline)
        if self.reprocess not in set(Reprocess):
            raise BadBackfill(f"It cannot reprocess {self.reprocess!r}.", remedy=f"Write {', '.join(Reprocess)}.")
        try:
            zone = ZoneInfo(self.timezone)
        except (ZoneInfoNotFoundError, ValueError) as error:
            raise BadBackfill(f"There is no time zone {self.timezone!r}.", remedy="Write Europe/Berlin.") from error
        return BackfillRequest(
            headrace.project_id,
            self.pipeline,
            self.start.replace(tzinfo=zone),
            self.end.replace(tzinfo=zone),
            read_every(self.every),
            self.timezone,
            Reprocess(self.reprocess),
            Order(self.order),
            dict(_variable(text) for text in self.variables),
            self.concurrency,
            self.pace,
        )


def _variable(text: str) -> tuple[str, Any]:
    name, sign, value = text.partition("=")
    if not sign or not name:
        raise BadBackfill(f"{text!r} is no variable.", remedy="Write K=V.")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


async def make_backfill(screen: Screen, wish: BackfillWish, *, only_preview: bool) -> ExitCode:
    """Show what a backfill runs, and make it."""
    async with open_headrace(screen.project, drive=False) as headrace:
        backfilling = Backfilling(headrace.database)
        request = wish.request(headrace)
        planned = await backfilling.preview(request)
        number = None if only_preview else await backfilling.create(request)
        if number is not None:
            await headrace.database.waker.wake()
    if screen.is_json:
        screen.out.write_json({"backfill": number, "intervals": [asdict(item) for item in planned]})
        return ExitCode.COMPLETED
    _tell_plan(screen, planned)
    if number is not None:
        screen.out.say(f"backfill {number}: a service of this project makes its runs", "bold")
        screen.tell_next("Next", [("how it goes", screen.command("backfills", "show", str(number))),
                                  ("end it", screen.command("backfills", "cancel", str(number)))])  # fmt: skip
    return ExitCode.COMPLETED


def _tell_plan(screen: Screen, planned: Sequence[PlannedInterval]) -> None:
    for item in planned[:MOST_SHOWN]:
        sign, told = ("●", "") if item.wanted else ("○", f"  {item.reason}")
        screen.out.say(f"{sign} {item.interval.start.isoformat()} → {item.interval.end.isoformat()}{told}")
    if len(planned) > MOST_SHOWN:
        screen.out.say(f"… and {counted(len(planned) - MOST_SHOWN, 'more interval')}", "dim")
    wanted = sum(item.wanted for item in planned)
    screen.out.say(f"{counted(wanted, 'run')} for {counted(len(planned), 'interval')}")


async def list_backfills(screen: Screen, limit: int) -> ExitCode:
    """Print the project's backfills, newest first."""
    async with open_headrace(screen.project, drive=False) as headrace:
        found = await newest_backfills(headrace.database, headrace.project_id, limit=limit)
    if screen.is_json:
        screen.out.write_json(found)
    elif not found:
        screen.out.say("There are no backfills yet.")
    else:
        table = Table(box=None, header_style="bold", pad_edge=False)
        for name in ("backfill", "status", "pipeline", "from", "to", "every", "so far"):
            table.add_column(name)
        for each in found:
            table.add_row(
                str(each.id),
                each.status,
                each.pipeline,
                moment(each.start_at),
                moment(each.end_at),
                each.every,
                _sums(each),
            )
        screen.out.print(table)
    return ExitCode.COMPLETED


def _sums(backfill: StoredBackfill) -> str:
    sums = {
        "completed": backfill.completed,
        "failed": backfill.failed,
        "running": backfill.running,
        "waiting": backfill.waiting,
        "left out": backfill.left_out,
        "cancelled": backfill.dropped,
    }
    return ", ".join(f"{count} {word}" for word, count in sums.items() if count) or "nothing to run"


async def show_backfill(screen: Screen, number: int) -> ExitCode:
    """Print a backfill and its intervals. Raises UnknownBackfill."""
    async with open_headrace(screen.project, drive=False) as headrace:
        found = await Backfilling(headrace.database).show(number)
        rows = await backfill_intervals(headrace.database, number, limit=1000)
    if screen.is_json:
        screen.out.write_json({"backfill": asdict(found), "intervals": [asdict(row) for row in rows]})
        return ExitCode.COMPLETED
    screen.out.say(f"backfill {found.id} of {found.pipeline}: {found.status}", "bold")
    screen.out.say(f"{_sums(found)}; {found.concurrency} at once, {found.pace:g} s apart, {found.run_order}")
    if found.reason:
        screen.out.say(found.reason, "red")
    for row in rows:
        run = "" if row.run_id is None else f"  run {row.run_id} {row.run_status}"
        screen.out.say(f"  {row.start_at.isoformat()}  {row.status.replace('_', ' ')}{run}")
    return ExitCode.COMPLETED


async def steer_backfill(screen: Screen, number: int, verb: str) -> ExitCode:
    """Pause, resume, cancel or retry a backfill. Raises UnknownBackfill, BackfillCannot."""
    async with open_headrace(screen.project, drive=False) as headrace:
        backfilling = Backfilling(headrace.database)
        verbs = {
            "pause": backfilling.pause,
            "resume": backfilling.resume,
            "cancel": backfilling.cancel,
            "retry": backfilling.retry,
        }
        await verbs[verb](number)
        found = await backfilling.show(number)
        await headrace.database.waker.wake()
    screen.out.say(f"backfill {number} is {found.status}: {_sums(found)}")
    return ExitCode.COMPLETED


async def change_backfill(screen: Screen, number: int, concurrency: int | None, pace: float | None) -> ExitCode:
    """Change how fast a backfill goes. Raises UnknownBackfill, BackfillCannot."""
    async with open_headrace(screen.project, drive=False) as headrace:
        backfilling = Backfilling(headrace.database)
        await backfilling.change(number, concurrency=concurrency, pace=pace)
        found = await backfilling.show(number)
    screen.out.say(f"backfill {number}: {found.concurrency} at once, {found.pace:g} s apart")
    return ExitCode.COMPLETED
