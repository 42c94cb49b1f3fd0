"""The commands on triggers: what listens, switching those that live in the database, and writing them out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from headrace.terminal.options import JsonOption, ProjectOption, finish, screen_of

triggers = typer.Typer(rich_markup_mode=None, help="What makes runs, and steering it.", invoke_without_command=True)

NameArgument = Annotated[str, typer.Argument(metavar="TRIGGER", help="PIPELINE/TRIGGER, or its name alone.")]


def _project(context: typer.Context, given: Path | None) -> Path | None:
    return given or context.obj


@triggers.callback()
def list_them(context: typer.Context, project: ProjectOption = None, as_json: JsonOption = False) -> None:
    """List the project's triggers: those of its files, and those that the API made."""
    context.obj = project
    if context.invoked_subcommand is None:
        from headrace.terminal.triggers import list_triggers

        screen = screen_of(project, is_json=as_json)
        finish(screen, list_triggers(screen))


@triggers.command()
def enable(context: typer.Context, trigger: NameArgument, project: ProjectOption = None) -> None:
    """Switch a trigger on that the API made; one of a file is switched there."""
    from headrace.terminal.triggers import switch_trigger

    screen = screen_of(_project(context, project))
    finish(screen, switch_trigger(screen, trigger, active=True))


@triggers.command()
def disable(context: typer.Context, trigger: NameArgument, project: ProjectOption = None) -> None:
    """Switch a trigger off that the API made; one of a file is switched there."""
    from headrace.terminal.triggers import switch_trigger

    screen = screen_of(_project(context, project))
    finish(screen, switch_trigger(screen, trigger, active=False))


@triggers.command()
def remove(context: typer.Context, trigger: NameArgument, project: ProjectOption = None) -> None:
    """Remove a trigger that the API made; its runs and events stay."""
    from headrace.terminal.triggers import remove_trigger

    screen = screen_of(_project(context, project))
    finish(screen, remove_trigger(screen, trigger))


@triggers.command()
def export(context: typer.Context, project: ProjectOption = None) -> None:
    """Write out the triggers that the API made, as YAML for each pipeline's triggers.yaml."""
    from headrace.terminal.triggers import export_triggers

    screen = screen_of(_project(context, project))
    finish(screen, export_triggers(screen))
