"""The command line: what commands are called and take. What each does is in `terminal/`, imported when it is called."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from headrace.cli_backfills import backfill, backfills
from headrace.cli_events import events
from headrace.cli_sensors import sensors
from headrace.cli_tokens import tokens
from headrace.cli_triggers import triggers
from headrace.domain.statuses import RunStatus
from headrace.terminal.forms import OutputForm
from headrace.terminal.options import JsonOption, ProjectOption, finish, screen_of

MOST = 2**63 - 1
"""The highest number that a run can have."""

app = typer.Typer(
    name="headrace",
    help="Headrace runs data pipelines.",
    epilog="Exit codes: 0 completed, 1 failed, 2 invalid, 3 no database, 130 cancelled by Ctrl-C.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
db = typer.Typer(
    rich_markup_mode=None, help="Where the database is, its migrations, and psql on it.", invoke_without_command=True
)
app.add_typer(db, name="db")
app.add_typer(triggers, name="triggers")
app.add_typer(events, name="events")
app.add_typer(tokens, name="tokens")
app.add_typer(backfills, name="backfills")
app.add_typer(sensors, name="sensors")
app.add_typer(sensors, name="sensor", hidden=True)
schedule = typer.Typer(rich_markup_mode=None, help="When the schedules of triggers are due.", no_args_is_help=True)
app.add_typer(schedule, name="schedule")


def _run_number(text: str) -> int:
    if text.isascii() and text.isdigit() and 0 < int(text) <= MOST:
        return int(text)
    raise typer.BadParameter(f"{text!r} is no run's number.")


ProjectArgument = Annotated[Path, typer.Argument(help="The project's folder.", metavar="PROJECT", show_default=False)]
NearestArgument = Annotated[
    Path | None,
    typer.Argument(help="The project's folder; the one at hand if left out.", metavar="PROJECT", show_default=False),
]
RunArgument = Annotated[int, typer.Argument(help="A run's number.", metavar="RUN", parser=_run_number)]
BlockArgument = Annotated[str, typer.Argument(help="A block's uuid.", metavar="BLOCK")]
ProfileOption = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="The database that blocks reach by this profile of io_config.yaml.",
                 show_default=False),
]  # fmt: skip


def main() -> None:
    """Run the command line, and exit with its code."""
    from headrace.terminal.console import open_descriptors

    open_descriptors()
    app()


def _print_version(is_asked: bool) -> None:
    if is_asked:
        from importlib.metadata import version

        typer.echo(f"headrace {version('headrace')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Headrace runs data pipelines."""


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(help="The folder to make a project in.", metavar="DIR")],
) -> None:
    """Make a new project with one small pipeline in it."""
    from headrace.terminal.projects import make_project

    screen = screen_of(folder)
    finish(screen, lambda: make_project(screen))


@app.command()
def check(project: NearestArgument = None, as_json: JsonOption = False) -> None:
    """Validate a project without running it."""
    from headrace.terminal.projects import check_files

    screen = screen_of(project, is_json=as_json)
    finish(screen, lambda: check_files(screen))


@app.command()
def run(
    project: ProjectArgument,
    pipeline: Annotated[str, typer.Argument(help="The pipeline's uuid.", metavar="PIPELINE")],
    var: Annotated[
        list[str] | None,
        typer.Option("--var", metavar="K=V", help="A variable of the run; V is JSON, or else text. Repeatable."),
    ] = None,
    block: Annotated[
        str | None, typer.Option("--block", metavar="UUID", help="Run this block alone, on stored outputs.")
    ] = None,
    upstream: Annotated[bool, typer.Option("--upstream", help="With --block: run all blocks above it too.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Run a pipeline and follow it to its end."""
    from headrace.terminal.running import run_pipeline

    if upstream and block is None:
        raise typer.BadParameter("it needs --block", param_hint="--upstream")
    screen = screen_of(project, is_json=as_json)
    finish(screen, run_pipeline(screen, pipeline, _variables(var or []), block, upstream=upstream))


def _variables(given: list[str]) -> dict[str, Any]:
    pairs = [text.partition("=") for text in given]
    for name, sign, _ in pairs:
        if not sign or not name:
            raise typer.BadParameter(f"{name!r} is not K=V", param_hint="--var")
    return {name: _value(text) for name, _, text in pairs}


def _value(text: str) -> Any:
    """A variable's value: JSON where it is that. NaN and infinity are not, and stay text."""
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except ValueError:
        return text


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(name)


@app.command()
def runs(
    pipeline: Annotated[str | None, typer.Option(metavar="UUID", help="Only of this pipeline.")] = None,
    status: Annotated[RunStatus | None, typer.Option(help="Only with this status.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many.")] = 20,
    before: Annotated[int | None, typer.Option(metavar="RUN", help="Only older ones.", parser=_run_number)] = None,
    project: ProjectOption = None,
    as_json: JsonOption = False,
) -> None:
    """List runs, newest first."""
    from headrace.terminal.looking import list_runs

    screen = screen_of(project, is_json=as_json)
    finish(screen, list_runs(screen, limit=limit, before=before, pipeline=pipeline, status=status))


@app.command()
def show(number: RunArgument, project: ProjectOption = None, as_json: JsonOption = False) -> None:
    """Show where each block of a run stands, and why."""
    from headrace.terminal.looking import show_run

    screen = screen_of(project, is_json=as_json)
    finish(screen, show_run(screen, number))


@app.command()
def why(number: RunArgument, project: ProjectOption = None, as_json: JsonOption = False) -> None:
    """Tell what a run waits for, and behind whom."""
    from headrace.terminal.looking import tell_waits

    screen = screen_of(project, is_json=as_json)
    finish(screen, tell_waits(screen, number))


@app.command()
def logs(
    number: RunArgument,
    block: Annotated[str | None, typer.Argument(help="Only of this block.", metavar="BLOCK")] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the run has ended.")] = False,
    project: ProjectOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object a line.")] = False,
) -> None:
    """Show what blocks printed and logged."""
    from headrace.terminal.looking import print_logs

    screen = screen_of(project, is_json=as_json)
    finish(screen, print_logs(screen, number, block, follow=follow))


@app.command()
def output(
    number: RunArgument,
    block: BlockArgument,
    index: Annotated[int, typer.Option(help="Which of its outputs.", min=0, max=2**31 - 1)] = 0,
    form: Annotated[
        OutputForm, typer.Option("--format", help="table shows the first rows, the others write all of them.")
    ] = OutputForm.TABLE,
    project: ProjectOption = None,
) -> None:
    """Show a block's stored output, or write it out."""
    from headrace.terminal.looking import print_output

    screen = screen_of(project)
    finish(screen, print_output(screen, number, block, index, form))


@app.command(name="test")
def run_block_tests(
    project: NearestArgument = None,
    pipeline: Annotated[
        str | None, typer.Argument(help="A pipeline's uuid; all of them if left out.", metavar="PIPELINE")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Run each block's tests on its newest stored outputs."""
    from headrace.terminal.projects import test_outputs

    screen = screen_of(project, is_json=as_json)
    finish(screen, test_outputs(screen, pipeline))


@app.command()
def retry(
    number: RunArgument,
    from_block: Annotated[
        str | None, typer.Option("--from", metavar="BLOCK", help="Run this block and all below it again.")
    ] = None,
    latest: Annotated[bool, typer.Option("--latest", help="Use the files as they are now, not as pinned.")] = False,
    project: ProjectOption = None,
    as_json: JsonOption = False,
) -> None:
    """Run again what did not complete, and keep the rest; all of it where everything had completed."""
    from headrace.terminal.running import retry_run

    screen = screen_of(project, is_json=as_json)
    finish(screen, retry_run(screen, number, from_block, latest=latest))


@app.command()
def start(
    projects: Annotated[
        list[Path] | None,
        typer.Argument(help="Projects' folders; the one at hand if left out.", metavar="PROJECT", show_default=False),
    ] = None,
    host: Annotated[str, typer.Option(metavar="ADDRESS", help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port to listen on; 0 for any.")] = 6789,
    drain: Annotated[float, typer.Option(min=0, metavar="SECONDS", help="What running blocks get at its end.")] = 30.0,
    own_token: Annotated[
        bool,
        typer.Option("--own-token", help="Let others in by the token that it makes and prints at its first start."),
    ] = False,
) -> None:
    """Serve projects: HTTP API, triggers and runs."""
    from headrace.serving import ServiceSettings
    from headrace.terminal.starting import start_service

    screen = screen_of(projects[0] if projects else None)
    settings = ServiceSettings(host=host, port=port, drain=drain, own_token=own_token)
    finish(screen, start_service(screen, projects or [screen.project], settings))


app.command()(backfill)


@app.command()
def resume(project: NearestArgument = None, as_json: JsonOption = False) -> None:
    """Go on with runs whose process was killed."""
    from headrace.terminal.running import resume_runs

    screen = screen_of(project, is_json=as_json)
    finish(screen, resume_runs(screen))


@app.command()
def cancel(number: RunArgument, project: ProjectOption = None, as_json: JsonOption = False) -> None:
    """Cancel a run and wait until it has ended."""
    from headrace.terminal.running import cancel_run

    screen = screen_of(project, is_json=as_json)
    finish(screen, cancel_run(screen, number))


@db.callback()
def _database(context: typer.Context, project: ProjectOption = None, as_json: JsonOption = False) -> None:
    """Where the database is, its migrations, and psql on it."""
    context.obj = project
    if context.invoked_subcommand is None:
        _tell_status(project, is_json=as_json)


def _tell_status(project: Path | None, *, is_json: bool) -> NoReturn:
    from headrace.terminal.database import show_status

    screen = screen_of(project, is_json=is_json)
    finish(screen, show_status(screen))


@db.command()
def status(context: typer.Context, project: ProjectOption = None, as_json: JsonOption = False) -> None:
    """Tell where it is and which migrations are applied."""
    _tell_status(project or context.obj, is_json=as_json)


@db.command()
def migrate(context: typer.Context, project: ProjectOption = None, as_json: JsonOption = False) -> None:
    """Bring the database up to date."""
    from headrace.terminal.database import migrate_database

    screen = screen_of(project or context.obj, is_json=as_json)
    finish(screen, migrate_database(screen))


@db.command()
def dsn(context: typer.Context, profile: ProfileOption = None, project: ProjectOption = None) -> None:
    """Print its address, as psql takes it."""
    from headrace.terminal.database import print_dsn

    screen = screen_of(project or context.obj)
    finish(screen, print_dsn(screen, profile))


@db.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def psql(context: typer.Context, profile: ProfileOption = None, project: ProjectOption = None) -> None:
    """Run psql on it; further arguments are psql's."""
    from headrace.terminal.database import run_psql

    screen = screen_of(project or context.obj)
    finish(screen, run_psql(screen, profile, context.args))


@schedule.command()
def preview(
    trigger: Annotated[str, typer.Argument(help="PIPELINE/TRIGGER, or the trigger's name alone.", metavar="TRIGGER")],
    count: Annotated[int, typer.Option("--count", "-n", min=1, max=10_000, help="How many slots.")] = 20,
    after: Annotated[
        datetime | None, typer.Option(metavar="TIME", help="Only slots after this time, in UTC; now if left out.")
    ] = None,
    project: ProjectOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show a trigger's next slots, where clocks are set forwards or back too."""
    from headrace.terminal.schedules import preview_schedule

    screen = screen_of(project, is_json=as_json)
    since = None if after is None else after.replace(tzinfo=UTC)
    finish(screen, preview_schedule(screen, trigger, count, since))


@schedule.command()
def gaps(
    trigger: Annotated[str, typer.Argument(help="PIPELINE/TRIGGER, or the trigger's name alone.", metavar="TRIGGER")],
    since: Annotated[
        datetime | None, typer.Option(metavar="TIME", help="Slots after this time, in UTC; 30 days if left out.")
    ] = None,
    fill: Annotated[bool, typer.Option("--fill", help="Make a backfill of them.")] = False,
    project: ProjectOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show a trigger's slots that have no good run; exit code 1 where there are any that are not filled."""
    from headrace.terminal.gaps import show_gaps

    screen = screen_of(project, is_json=as_json)
    start = None if since is None else since.replace(tzinfo=UTC)
    finish(screen, show_gaps(screen, trigger, start, fill=fill))


@schedule.callback()
def _schedules() -> None:
    """When the schedules of triggers are due."""
