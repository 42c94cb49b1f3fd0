"""The commands on backfills: showing what one would run, making it, and steering it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from rich.table import Table

from headrace.service import open_headrace
from headrace.store.backfills import backfill_intervals, newest_backfills
from headrace.terminal.errors import ExitCode
from headrace.terminal.looks import counted, moment, words
from headrace.terminal.screen import Screen
from headrace.triggers.backfill_views import (
    BackfillView,
    PlannedIntervalView,
    backfill_view,
    interval_view,
    planned_views,
)
from headrace.triggers.backfill_wishes import BackfillWish, BadBackfill
from headrace.triggers.backfilling import Backfilling

MOST_SHOWN = 50


def variables_of(texts: Sequence[str]) -> Mapping[str, Any]:
    """Variables from texts K=V; V is JSON, or else text. Raises BadBackfill."""
    return dict(map(_variable, texts))


def _variable(text: str) -> tuple[str, Any]:
    name, sign, value = text.partition("=")
    if not sign or not name:
        raise BadBackfill(f"{text!r} is no variable.", remedy="Write K=V.")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


async def make_backfill(
    screen: Screen, wish: BackfillWish, variables: Sequence[str], *, only_preview: bool
) -> ExitCode:
    """Show what a backfill runs, and make it; `variables` are texts K=V."""
    async with open_headrace(screen.project, drive=False) as headrace:
        backfilling = Backfilling(headrace.database)
        headrace.pipeline(wish.pipeline)
        request = replace(wish, variables=variables_of(variables)).request(headrace.project_id)
        planned = planned_views(await backfilling.preview(request))
        number = None if only_preview else await backfilling.create(request)
        if number is not None:
            await headrace.database.waker.wake()
    if screen.is_json:
        screen.out.write_json({"backfill": number, "intervals": planned})
        return ExitCode.COMPLETED
    _tell_plan(screen, planned)
    if number is not None:
        screen.out.say(f"backfill {number}: a service of this project makes its runs", "bold")
        screen.tell_next("Next", [("how it goes", screen.command("backfills", "show", str(number))),
                                  ("end it", screen.command("backfills", "cancel", str(number)))])  # fmt: skip
    return ExitCode.COMPLETED


def _tell_plan(screen: Screen, planned: Sequence[PlannedIntervalView]) -> None:
    for item in planned[:MOST_SHOWN]:
        sign, told = ("●", "") if item.runs else ("○", f"  {item.reason}")
        screen.out.say(f"{sign} {item.start.isoformat()} → {item.end.isoformat()}{told}")
    if len(planned) > MOST_SHOWN:
        screen.out.say(f"… and {counted(len(planned) - MOST_SHOWN, 'more interval')}", "dim")
    wanted = sum(item.runs for item in planned)
    screen.out.say(f"{counted(wanted, 'run')} for {counted(len(planned), 'interval')}")


async def list_backfills(screen: Screen, limit: int) -> ExitCode:
    """Print the project's backfills, newest first."""
    async with open_headrace(screen.project, drive=False) as headrace:
        stored = await newest_backfills(headrace.database, [headrace.project_id], limit=limit)
    found = [backfill_view(each) for each in stored]
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
                moment(each.start),
                moment(each.end),
                each.interval,
                _sums(each),
            )
        screen.out.print(table)
    return ExitCode.COMPLETED


def _sums(backfill: BackfillView) -> str:
    counts = backfill.intervals
    sums = {
        "completed": counts.completed,
        "failed": counts.failed,
        "running": counts.running,
        "waiting": counts.waiting,
        "left out": counts.left_out,
        "cancelled": counts.cancelled,
    }
    return ", ".join(f"{count} {word}" for word, count in sums.items() if count) or "nothing to run"


async def show_backfill(screen: Screen, number: int) -> ExitCode:
    """Print a backfill and its intervals. Raises UnknownBackfill."""
    async with open_headrace(screen.project, drive=False) as headrace:
        found = backfill_view(await Backfilling(headrace.database).show(number))
        rows = [interval_view(row) for row in await backfill_intervals(headrace.database, number, limit=1000)]
    if screen.is_json:
        screen.out.write_json({"backfill": found, "intervals": rows})
        return ExitCode.COMPLETED
    screen.out.say(f"backfill {found.id} of {found.pipeline}: {found.status}", "bold")
    screen.out.say(f"{_sums(found)}; {found.concurrency} at once, {found.pace:g} s apart, {found.order}")
    if found.reason:
        screen.out.say(found.reason, "red")
    for row in rows:
        run = "" if row.run is None else f"  run {row.run}"
        reason = "" if row.reason is None else f"  {row.reason}"
        screen.out.say(f"  {row.start.isoformat()}  {words(row.state)}{run}{reason}")
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
        found = backfill_view(await backfilling.show(number))
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
