"""The commands on sensors: how each fares, pausing it, and where it goes on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from headrace.terminal.options import JsonOption, ProjectOption, finish, screen_of

sensors = typer.Typer(rich_markup_mode=None, help="How sensors fare, and steering them.", invoke_without_command=True)

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="A sensor's name.")]


def _project(context: typer.Context, given: Path | None) -> Path | None:
    return given or context.obj


@sensors.callback()
def list_them(context: typer.Context, project: ProjectOption = None, as_json: JsonOption = False) -> None:
    """List the sensors that triggers listen to, with the health of each."""
    context.obj = project
    if context.invoked_subcommand is None:
        from headrace.terminal.sensors import list_sensors

        screen = screen_of(project, is_json=as_json)
        finish(screen, list_sensors(screen))


@sensors.command()
def show(
    context: typer.Context, name: NameArgument, project: ProjectOption = None, as_json: JsonOption = False
) -> None:
    """Show a sensor: its last look, what it gave, its cursor, its last error."""
    from headrace.terminal.sensors import show_sensor

    screen = screen_of(_project(context, project), is_json=as_json)
    finish(screen, show_sensor(screen, name))


@sensors.command()
def pause(context: typer.Context, name: NameArgument, project: ProjectOption = None) -> None:
    """Stop looking for a sensor until it is resumed."""
    from headrace.terminal.sensors import pause_one

    screen = screen_of(_project(context, project))
    finish(screen, pause_one(screen, name))


@sensors.command()
def resume(context: typer.Context, name: NameArgument, project: ProjectOption = None) -> None:
    """Look for a sensor again, at once and from its cursor on."""
    from headrace.terminal.sensors import resume_one

    screen = screen_of(_project(context, project))
    finish(screen, resume_one(screen, name))


@sensors.command()
def cursor(
    context: typer.Context,
    name: NameArgument,
    put: Annotated[str | None, typer.Option("--set", metavar="JSON", help="Go on from here.")] = None,
    rewind: Annotated[
        str | None, typer.Option(metavar="TIME", help="Go on from where it stood then: 2h, 3d, or a local time.")
    ] = None,
    clear: Annotated[bool, typer.Option("--clear", help="Go on from the very beginning.")] = False,
    again: Annotated[bool, typer.Option("--again", help="Events whose keys are known make runs once more.")] = False,
    project: ProjectOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show where a sensor goes on and where it stood before, or put it elsewhere."""
    from headrace.terminal.sensors import CursorWish, put_cursor, show_cursors

    screen = screen_of(_project(context, project), is_json=as_json)
    wish = CursorWish(put, rewind, clear, again)
    finish(screen, put_cursor(screen, name, wish) if wish.moves else show_cursors(screen, name))
