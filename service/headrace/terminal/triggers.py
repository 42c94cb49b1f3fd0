"""The commands on triggers: list, enable, disable, remove, export."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from rich.table import Table

from headrace.domain.triggers import Trigger
from headrace.engine.headrace import Headrace
from headrace.service import open_headrace
from headrace.store.triggers import GivenTrigger, TriggerRow, live_api_triggers, trigger_row
from headrace.terminal.errors import ExitCode
from headrace.terminal.screen import Screen
from headrace.terminal.triggers_at_hand import written_triggers
from headrace.triggers.given_triggers import TriggerOfAFile, export_given, remove_given, switch_given
from headrace.triggers.naming import fitting, unknown

_STYLES = {"active": "green", "inactive": "dim", "broken": "red"}


@dataclass(frozen=True, slots=True)
class TriggerLine:
    """A trigger in a list. `origin` is `file`, or `api` for one that lives in the database."""

    pipeline: str
    name: str
    kind: str
    source: str
    origin: str
    status: str
    reason: str | None


async def list_triggers(screen: Screen) -> ExitCode:
    """Print the project's triggers by pipeline and name, broken ones too."""
    async with open_headrace(screen.project, drive=False) as headrace:
        rows = await live_api_triggers(headrace.database, headrace.project_id)
        found = sorted([*_of_files(headrace), *map(_of_row, rows)], key=lambda line: (line.pipeline, line.name))
    if screen.is_json:
        screen.out.write_json(found)
        return ExitCode.COMPLETED
    if not found:
        screen.out.say("There are no triggers yet: they stand in pipelines/PIPELINE/triggers.yaml.")
        return ExitCode.COMPLETED
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in ("trigger", "listens to", "made by", "status"):
        table.add_column(name, overflow="fold")
    for line in found:
        status = f"[{_STYLES[line.status]}]{line.status}[/]"
        table.add_row(f"{line.pipeline}/{line.name}", line.source, line.origin, status)
    screen.out.print(table)
    for line in found:
        if line.reason:
            screen.err.say(f"{line.pipeline}/{line.name}: {line.reason}", "dim")
    return ExitCode.COMPLETED


def _of_files(headrace: Headrace) -> Iterator[TriggerLine]:
    for each in written_triggers(headrace.project):
        if isinstance(each, Trigger):
            status = "active" if each.active else "inactive"
            yield TriggerLine(each.pipeline, each.name, each.kind, each.source, "file", status, None)
        else:
            yield TriggerLine(each.pipeline, each.name, "", "", "file", "broken", each.reason)


def _of_row(row: TriggerRow) -> TriggerLine:
    return TriggerLine(row.pipeline, row.name, row.kind, row.source, row.origin, row.status, row.reason)


async def switch_trigger(screen: Screen, name: str, *, active: bool) -> ExitCode:
    """Switch a trigger on or off that lives in the database. Raises UnknownTrigger, TriggerOfAFile."""
    async with open_headrace(screen.project, drive=False) as headrace:
        found = await _given(headrace, name)
        await switch_given(headrace.database, found, headrace.project.environ, active=active)
    screen.out.say(f"{found.row.pipeline}/{found.row.name} is {'active' if active else 'inactive'}")
    return ExitCode.COMPLETED


async def remove_trigger(screen: Screen, name: str) -> ExitCode:
    """Remove a trigger that lives in the database. Raises UnknownTrigger, TriggerOfAFile."""
    async with open_headrace(screen.project, drive=False) as headrace:
        found = await _given(headrace, name)
        await remove_given(headrace.database, found)
    screen.out.say(f"{found.row.pipeline}/{found.row.name} is removed; its runs and events stay")
    return ExitCode.COMPLETED


async def export_triggers(screen: Screen) -> ExitCode:
    """Write out the triggers that live in the database, as YAML."""
    async with open_headrace(screen.project, drive=False) as headrace:
        text = await export_given(headrace.database, headrace.project_id)
    screen.out.write(text)
    return ExitCode.COMPLETED


async def _given(headrace: Headrace, name: str) -> GivenTrigger:
    """The trigger of a name that lives in the database. Raises UnknownTrigger, TriggerOfAFile."""
    rows = await live_api_triggers(headrace.database, headrace.project_id)
    row = fitting(name, rows)
    if row is None:
        written = list(written_triggers(headrace.project))
        of_file = fitting(name, written)
        if of_file is not None:
            raise TriggerOfAFile(
                f"Trigger {of_file.name} is written in pipelines/{of_file.pipeline}/triggers.yaml.",
                remedy="Change its `status` there.",
            )
        raise unknown(name, [*rows, *written])
    found = await trigger_row(headrace.database, row.id)
    assert found is not None  # noqa: S101 - rows of triggers are never removed
    return found
