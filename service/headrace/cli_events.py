"""The commands on events: what came in, what became of it, and taking it in again."""

from __future__ import annotations

from typing import Annotated

import typer

from headrace.terminal.options import JsonOption, ProjectOption, finish, screen_of

events = typer.Typer(rich_markup_mode=None, help="What came in, and what became of it.", invoke_without_command=True)


@events.callback()
def list_them(
    context: typer.Context,
    source: Annotated[str | None, typer.Option(metavar="SOURCE", help="Only of this source.")] = None,
    fate: Annotated[
        str | None, typer.Option(metavar="FATE", help="run, filtered, skipped, waiting, dead or 'no match'.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many.")] = 20,
    before: Annotated[int | None, typer.Option(min=1, metavar="EVENT", help="Only those before this one.")] = None,
    project: ProjectOption = None,
    as_json: JsonOption = False,
) -> None:
    """List events, newest first, with what became of each."""
    context.obj = project
    if context.invoked_subcommand is None:
        from headrace.terminal.events import list_events

        screen = screen_of(project, is_json=as_json)
        finish(screen, list_events(screen, source=source, fate=fate, limit=limit, before=before))


@events.command()
def show(
    context: typer.Context,
    event: Annotated[int, typer.Argument(min=1, metavar="EVENT", help="An event's number.")],
    project: ProjectOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show an event, and what each trigger made of it."""
    from headrace.terminal.events import show_event

    screen = screen_of(project or context.obj, is_json=as_json)
    finish(screen, show_event(screen, event))


@events.command()
def replay(
    context: typer.Context,
    numbers: Annotated[list[int], typer.Argument(min=1, metavar="EVENT…", help="Events' numbers.")],
    project: ProjectOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take events in again; triggers decide anew."""
    from headrace.terminal.events import replay_events

    screen = screen_of(project or context.obj, is_json=as_json)
    finish(screen, replay_events(screen, numbers))
