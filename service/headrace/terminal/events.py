"""The commands on events: what came in, what became of it, and taking it in again."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict

import anyio
from rich.table import Table
from rich.text import Text

from headrace.domain.moments import told
from headrace.engine.headrace import Headrace
from headrace.project.following import FollowedProject
from headrace.service import open_headrace
from headrace.store.events import StoredFate, newest_events
from headrace.terminal.errors import ExitCode
from headrace.terminal.looks import moment
from headrace.terminal.screen import Screen
from headrace.triggers.intake import Intake
from headrace.triggers.replaying import find_event
from headrace.triggers.waits import told_fates

FATES = {
    "run": "green",
    "backfill": "green",
    "filtered": "dim",
    "skipped": "yellow",
    "waiting": "cyan",
    "dead": "bold red",
}


async def list_events(
    screen: Screen, *, source: str | None, fate: str | None, limit: int, before: int | None
) -> ExitCode:
    """Print a page of the project's events, newest first."""
    async with open_headrace(screen.project, drive=False) as headrace:
        found = await newest_events(
            headrace.database, [headrace.project_id], limit=limit, before=before, source=source, fate=fate
        )
        fates = await told_fates(headrace.database, [event.id for event in found])
    if screen.is_json:
        screen.out.write_json(
            [
                {**asdict(event), "fates": [asdict(each) for each in fates if each.event_id == event.id]}
                for event in found
            ]
        )
        return ExitCode.COMPLETED
    if not found:
        screen.out.say("There are no such events." if source or fate or before else "There are no events yet.")
        return ExitCode.COMPLETED
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in ("event", "received", "source", "kind", "what became of it"):
        table.add_column(name, overflow="fold")
    for event in found:
        own = [each for each in fates if each.event_id == event.id]
        table.add_row(str(event.id), moment(event.received_at), event.source, event.kind, _told(own))
    screen.out.print(table)
    if len(found) == limit:
        screen.err.say(f"Older ones: {screen.command('events', '--before', str(found[-1].id))}", "dim")
    return ExitCode.COMPLETED


async def show_event(screen: Screen, number: int) -> ExitCode:
    """Print an event whole, with the reason of each of its fates. Raises UnknownEvent."""
    async with open_headrace(screen.project, drive=False) as headrace:
        event = await find_event(headrace.database, number)
        fates = await told_fates(headrace.database, [number])
    body = None if event.body is None else event.body.decode("utf-8", "replace")
    if screen.is_json:
        variables = told(event.variables or {})
        screen.out.write_json(
            {**asdict(event), "variables": variables, "body": body, "fates": [asdict(each) for each in fates]}
        )
        return ExitCode.COMPLETED
    screen.out.say(f"event {event.id}  {event.kind}  from {event.source}", "bold")
    screen.out.say(f"key {event.key}, received {moment(event.received_at)}, occurred {moment(event.occurred_at)}")
    if event.replay_of is not None:
        screen.out.say(f"a replay of event {event.replay_of}")
    for fate in fates:
        screen.out.print(Text("  ") + _fate(fate) + Text(f"  {fate.reason}" if fate.reason else "", "dim"))
    if not fates:
        screen.out.say("  no trigger listens to it")
    screen.out.write_json(event.payload)
    if event.variables:
        screen.out.say("variables")
        screen.out.write_json(told(event.variables))
    screen.tell_next("Next", [("take it in again", screen.command("events", "replay", str(event.id)))])
    return ExitCode.COMPLETED


async def replay_events(screen: Screen, numbers: Sequence[int]) -> ExitCode:
    """Take events in again, as new ones. Raises UnknownEvent before any is taken in."""
    async with open_headrace(screen.project, drive=False) as headrace, _taking_in(headrace) as intake:
        answers = await intake.replayer.replay_all(numbers)
        await headrace.database.waker.wake()
    if screen.is_json:
        screen.out.write_json(list(answers))
        return ExitCode.COMPLETED
    for number, answer in zip(numbers, answers, strict=True):
        made = f"run {', '.join(map(str, answer.runs))}" if answer.runs else "no run"
        screen.out.say(f"event {number} was taken in again as event {answer.event}: {made}")
    return ExitCode.COMPLETED


@asynccontextmanager
async def _taking_in(headrace: Headrace) -> AsyncIterator[Intake]:
    """What accepts events of one project, while the block lasts."""
    followed = FollowedProject(headrace.project.root, headrace.project.environ)
    intake = Intake.of(headrace.database, {headrace.project_id: followed}, lambda runs: None)
    await intake.book.look()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(intake.acceptor.run)
        yield intake
        tasks.cancel_scope.cancel()


def _told(fates: Sequence[StoredFate]) -> Text:
    if not fates:
        return Text("no match", "dim")
    return Text(", ").join([_fate(fate) for fate in fates])


def _fate(fate: StoredFate) -> Text:
    what = f"run {fate.run_id}" if fate.run_id is not None else fate.fate
    whose = f" ({fate.pipeline}/{fate.name})" if fate.name is not None else ""
    return Text.assemble((what, FATES[fate.fate]), (whose, "dim"))
