"""The commands on backfills: showing what one would run, making it, and steering it."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from headrace.terminal.options import JsonOption, ProjectOption, finish, screen_of

backfills = typer.Typer(rich_markup_mode=None, help="List and steer backfills.", invoke_without_command=True)
BackfillArgument = Annotated[int, typer.Argument(min=1, metavar="BACKFILL", help="A backfill's number.")]
Moment = Annotated[
    datetime,
    typer.Option(formats=["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M"]),
]


def backfill(
    pipeline: Annotated[str, typer.Argument(metavar="PIPELINE", help="The pipeline's uuid.")],
    start: Moment,
    end: Moment,
    interval: Annotated[str, typer.Option(metavar="LENGTH", help="day, 2 hours, 15 minutes and the like.")] = "day",
    timezone: Annotated[str, typer.Option(metavar="ZONE", help="Of start and end, and of days.")] = "UTC",
    reprocess: Annotated[str, typer.Option(help="missing, failed (and missing) or all.")] = "missing",
    backwards: Annotated[bool, typer.Option("--backwards", help="The newest interval first.")] = False,
    concurrency: Annotated[int, typer.Option(min=1, help="Runs at once.")] = 1,
    pace: Annotated[float, typer.Option(min=0, metavar="SECONDS", help="Between two runs at least.")] = 0.0,
    priority: Annotated[int, typer.Option(help="Of its runs; live work has 0.")] = -10,
    var: Annotated[list[str] | None, typer.Option("--var", metavar="K=V", help="A variable of its runs.")] = None,
    preview: Annotated[bool, typer.Option("--preview", help="Only show what it would run.")] = False,
    project: ProjectOption = None,
    as_json: JsonOption = False,
) -> None:
    """Run a pipeline for intervals of the past. Both bounds count. A service makes the runs."""
    from headrace.terminal.backfills import make_backfill
    from headrace.triggers.backfill_wishes import BackfillWish

    order = "backwards" if backwards else "forwards"
    wish = BackfillWish(pipeline, start, end, interval, timezone, reprocess, order, concurrency, pace, priority)
    screen = screen_of(project, is_json=as_json)
    finish(screen, make_backfill(screen, wish, var or [], only_preview=preview))


@backfills.callback()
def list_them(
    context: typer.Context,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many.")] = 20,
    project: ProjectOption = None,
    as_json: JsonOption = False,
) -> None:
    """List backfills, newest first."""
    context.obj = project
    if context.invoked_subcommand is None:
        from headrace.terminal.backfills import list_backfills

        screen = screen_of(project, is_json=as_json)
        finish(screen, list_backfills(screen, limit))


@backfills.command()
def show(
    context: typer.Context, number: BackfillArgument, project: ProjectOption = None, as_json: JsonOption = False
) -> None:
    """Show a backfill and its intervals."""
    from headrace.terminal.backfills import show_backfill

    screen = screen_of(project or context.obj, is_json=as_json)
    finish(screen, show_backfill(screen, number))


@backfills.command()
def pause(context: typer.Context, number: BackfillArgument, project: ProjectOption = None) -> None:
    """Let it make no more runs for now."""
    _steer(number, "pause", project or context.obj)


@backfills.command()
def resume(context: typer.Context, number: BackfillArgument, project: ProjectOption = None) -> None:
    """Let it go on."""
    _steer(number, "resume", project or context.obj)


@backfills.command()
def cancel(context: typer.Context, number: BackfillArgument, project: ProjectOption = None) -> None:
    """End it, and cancel what it runs."""
    _steer(number, "cancel", project or context.obj)


@backfills.command()
def retry(context: typer.Context, number: BackfillArgument, project: ProjectOption = None) -> None:
    """Run again what did not complete."""
    _steer(number, "retry", project or context.obj)


@backfills.command()
def change(
    context: typer.Context,
    number: BackfillArgument,
    concurrency: Annotated[int | None, typer.Option(min=1, help="Runs at once.")] = None,
    pace: Annotated[float | None, typer.Option(min=0, metavar="SECONDS", help="Between two runs at least.")] = None,
    project: ProjectOption = None,
) -> None:
    """Change how fast it goes, while it runs."""
    from headrace.terminal.backfills import change_backfill

    screen = screen_of(project or context.obj)
    finish(screen, change_backfill(screen, number, concurrency, pace))


def _steer(number: int, verb: str, project: Path | None) -> None:
    from headrace.terminal.backfills import steer_backfill

    screen = screen_of(project)
    finish(screen, steer_backfill(screen, number, verb))
