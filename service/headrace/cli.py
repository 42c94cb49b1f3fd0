"""The command line: each command opens the project, asks for one thing, shows it; its exit code tells how it went."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Annotated, Any

import asyncpg
import typer
from rich.console import Console
from rich.live import Live

from headrace.domain.errors import HeadraceError
from headrace.domain.statuses import RUN_TERMINAL, RunStatus
from headrace.engine.views import RunView
from headrace.project.checking import check_project
from headrace.project.creation import init_project
from headrace.project.faults import ProjectFault, Severity
from headrace.service import Headrace, open_headrace
from headrace.store.database import open_database
from headrace.store.errors import StoreError
from headrace.store.migrations import status as migration_status
from headrace.terminal.looks import moment
from headrace.terminal.rendering import write_output
from headrace.terminal.runs import RunTree, changed_lines, run_error, run_tree, runs_table
from headrace.terminal.values import as_json, output_preview

COMPLETED, FAILED, INVALID, NO_DATABASE, INTERRUPTED = 0, 1, 2, 3, 130

app = typer.Typer(
    name="headrace",
    help="Headrace runs data pipelines. Exit codes: 0 completed, 1 failed, 2 invalid, 3 no database, 130 cancelled.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
out = Console()
err = Console(stderr=True)

ProjectArgument = Annotated[Path, typer.Argument(help="The project's folder.", metavar="PROJECT")]
ProjectOption = Annotated[Path, typer.Option("--project", "-p", help="The project's folder.")]
RunArgument = Annotated[int, typer.Argument(help="A run's number.", metavar="RUN")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]


def main() -> None:
    """Run the command line; errors of ours become one message and an exit code, never a traceback."""
    try:
        app(standalone_mode=True)
    except HeadraceError as error:
        raise SystemExit(_told(error)) from None
    except (asyncpg.PostgresConnectionError, ConnectionError) as error:
        err.print(f"[bold red]error[database-unavailable][/]: {error}", markup=True, highlight=False)
        raise SystemExit(NO_DATABASE) from None
    except KeyboardInterrupt:
        raise SystemExit(INTERRUPTED) from None


def _told(error: HeadraceError) -> int:
    faults = error.faults if isinstance(error, ProjectFault) else ()
    if not faults:
        err.print(f"[bold red]error\\[{error.code}][/]: ", end="", highlight=False)
        err.print(error.message, markup=False, highlight=False)
        if error.remedy:
            err.print(f"→ {error.remedy}", markup=False, highlight=False)
    for fault in faults:
        err.print(f"[bold red]error\\[{error.code}][/]: ", end="", highlight=False)
        err.print(str(fault), markup=False, highlight=False)
    return NO_DATABASE if isinstance(error, StoreError) else INVALID


def _finish(work: Coroutine[Any, Any, int]) -> None:
    raise typer.Exit(asyncio.run(work))


@app.command()
def init(folder: Annotated[Path, typer.Argument(help="The folder to make a project in.", metavar="DIR")]) -> None:
    """Make a new project with one small pipeline in it."""
    for path in init_project(folder):
        out.print(f"[green]+[/] {path}", highlight=False)
    out.print(f"\nNow try: headrace run {folder} example", markup=False, highlight=False)


@app.command()
def check(project: ProjectArgument = Path()) -> None:
    """Validate everything in a project without running it: file and line of each fault."""
    faults = check_project(project)
    for fault in faults:
        style = "red" if fault.severity is Severity.ERROR else "yellow"
        out.print(f"[{style}]{fault.severity}[/] ", end="", highlight=False)
        out.print(str(fault), markup=False, highlight=False, soft_wrap=True)
    errors = sum(fault.severity is Severity.ERROR for fault in faults)
    if errors:
        raise typer.Exit(INVALID)
    out.print("[green]✔[/] nothing to mend", highlight=False)


@app.command()
def run(
    project: ProjectArgument,
    pipeline: Annotated[str, typer.Argument(help="The pipeline's uuid.")],
    var: Annotated[list[str] | None, typer.Option("--var", help="A run variable, k=v; v may be JSON.")] = None,
    block: Annotated[str | None, typer.Option("--block", help="Run one block alone, on stored outputs.")] = None,
    upstream: Annotated[bool, typer.Option("--upstream", help="With --block: run all blocks above it too.")] = False,
    as_json_text: JsonOption = False,
) -> None:
    """Run a pipeline and follow it to its end."""
    variables = _variables(var or [])
    _finish(_driven(
        project,
        lambda headrace: headrace.create_run(pipeline, variables=variables, block=block, with_upstream=upstream),
        as_json_text,
    ))  # fmt: skip


@app.command()
def retry(
    number: RunArgument,
    from_block: Annotated[str | None, typer.Option("--from", help="Run this block and all below it again.")] = None,
    latest: Annotated[bool, typer.Option("--latest", help="Use the files as they are now, not as pinned.")] = False,
    project: ProjectOption = Path(),
    as_json_text: JsonOption = False,
) -> None:
    """Run again what did not complete, as a new run that keeps the rest."""
    _finish(_driven(
        project, lambda headrace: headrace.retry(number, from_block=from_block, latest=latest), as_json_text
    ))  # fmt: skip


def _variables(given: list[str]) -> dict[str, Any]:
    pairs = [text.partition("=") for text in given]
    for name, sign, _ in pairs:
        if not sign or not name:
            raise typer.BadParameter(f"{name!r} is not k=v", param_hint="--var")
    return {name: _value(text) for name, _, text in pairs}


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


async def _driven(project: Path, create: Callable[[Headrace], Coroutine[Any, Any, int]], as_json_text: bool) -> int:
    async with open_headrace(project) as headrace:
        number = await create(headrace)
        return await _follow(headrace, number, as_json_text)


async def _follow(headrace: Headrace, number: int, as_json_text: bool) -> int:
    """Show a run until it has ended; the first Ctrl-C cancels it, the second one leaves at once."""
    loop = asyncio.get_running_loop()
    cancels: list[asyncio.Task[None]] = []

    def interrupted() -> None:
        if cancels:
            loop.remove_signal_handler(signal.SIGINT)
            raise KeyboardInterrupt
        err.print("cancelling… (Ctrl-C again leaves at once)", style="magenta")
        cancels.append(asyncio.ensure_future(headrace.cancel(number)))

    loop.add_signal_handler(signal.SIGINT, interrupted)
    try:
        view = await (_quiet(headrace, number) if as_json_text else _shown(headrace, number))
    finally:
        loop.remove_signal_handler(signal.SIGINT)
    if as_json_text:
        sys.stdout.write(as_json(view) + "\n")
    elif (error := run_error(view)) is not None:
        err.print(error)
    if view.status == RunStatus.CANCELLED and cancels:
        return INTERRUPTED
    return _code(view)


def _code(view: RunView) -> int:
    return COMPLETED if view.status == RunStatus.COMPLETED else FAILED


async def _quiet(headrace: Headrace, number: int) -> RunView:
    return await headrace.finished(number)


async def _shown(headrace: Headrace, number: int) -> RunView:
    if not out.is_terminal:
        return await _printed(headrace, number)
    view = await headrace.show(number)
    with Live(RunTree(view), console=out, refresh_per_second=12) as live:
        async for view in headrace.changes(number):
            live.update(RunTree(view))
    return view


async def _printed(headrace: Headrace, number: int) -> RunView:
    before: RunView | None = None
    async for view in headrace.changes(number):
        for line in changed_lines(before, view):
            out.print(line, markup=False, highlight=False, soft_wrap=True)
        before = view
    if before is None:
        raise AssertionError("changes begin with a view")
    return before


@app.command()
def resume(project: ProjectArgument = Path()) -> None:
    """Drive every run that has not ended, such as those of a process that was killed."""
    _finish(_resumed(project))


async def _resumed(project: Path) -> int:
    code = COMPLETED
    async with open_headrace(project) as headrace:
        numbers = await headrace.resume()
        for number in numbers:
            code = max(code, await _follow(headrace, number, as_json_text=False))
        if not numbers:
            out.print("every run has ended")
    return code


@app.command(name="test")
def run_block_tests(
    project: ProjectArgument = Path(),
    pipeline: Annotated[str | None, typer.Argument(help="A pipeline's uuid; every pipeline if left out.")] = None,
) -> None:
    """Run each block's tests on its newest stored outputs."""
    _finish(_tested(project, pipeline))


async def _tested(project: Path, pipeline: str | None) -> int:
    failed = 0
    async with open_headrace(project) as headrace:
        for uuid in [pipeline] if pipeline else headrace.project.pipeline_uuids():
            for report in await headrace.test(uuid):
                failed += report.failed or bool(report.failure and report.passed + report.failed)
                mark = "[red]✘[/]" if report.failure else "[green]✔[/]"
                out.print(f"{mark} {uuid}/{report.block}: {report.passed} passed", highlight=False)
                if report.failure:
                    out.print(f"  {report.failure}", markup=False, highlight=False)
    return FAILED if failed else COMPLETED


@app.command()
def runs(
    project: ProjectOption = Path(),
    pipeline: Annotated[str | None, typer.Option(help="Only of this pipeline.")] = None,
    status: Annotated[str | None, typer.Option(help="Only with this status.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many.")] = 20,
    before: Annotated[int | None, typer.Option(help="Only runs with numbers below this.")] = None,
    as_json_text: JsonOption = False,
) -> None:
    """List runs, newest first."""

    async def listed() -> int:
        async with open_headrace(project, drive=False) as headrace:
            found = await headrace.runs(limit=limit, before=before, pipeline=pipeline, status=status)
        if as_json_text:
            sys.stdout.write(as_json(found) + "\n")
        else:
            out.print(runs_table(found) if found else "there are no runs yet: headrace run PROJECT PIPELINE")
        return COMPLETED

    _finish(listed())


@app.command()
def show(number: RunArgument, project: ProjectOption = Path(), as_json_text: JsonOption = False) -> None:
    """Show a run: where each block stands, and why what waits waits."""

    async def shown() -> int:
        async with open_headrace(project, drive=False) as headrace:
            view = await headrace.show(number)
        if as_json_text:
            sys.stdout.write(as_json(view) + "\n")
            return COMPLETED
        out.print(run_tree(view))
        if (error := run_error(view)) is not None:
            out.print(error)
        return COMPLETED

    _finish(shown())


@app.command()
def logs(
    number: RunArgument,
    block: Annotated[str | None, typer.Argument(help="Only of this block.")] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the run has ended.")] = False,
    project: ProjectOption = Path(),
) -> None:
    """Show what blocks printed and logged."""

    async def printed() -> int:
        async with open_headrace(project, drive=False) as headrace:
            async for line in headrace.logs(number, block, follow=follow):
                style = {"stderr": "yellow", "log": "cyan"}.get(line.stream, "default")
                out.print(f"[dim]{moment(line.at)}[/] [{style}]{line.block}[/] ", end="", highlight=False)
                out.print(line.text, markup=False, highlight=False, soft_wrap=True)
        return COMPLETED

    _finish(printed())


@app.command()
def output(
    number: RunArgument,
    block: Annotated[str, typer.Argument(help="A block's uuid.")],
    index: Annotated[int, typer.Option(help="Which of its outputs, from 0.")] = 0,
    form: Annotated[str, typer.Option("--format", help="table, csv, parquet or json.")] = "table",
    project: ProjectOption = Path(),
) -> None:
    """Show or write out a block's stored output."""
    if form not in ("table", "csv", "parquet", "json"):
        raise typer.BadParameter(f"there is no format {form}", param_hint="--format")

    async def written() -> int:
        async with open_headrace(project, drive=False) as headrace:
            view, parts = await headrace.output_parts(number, block, index)
            if form == "table":
                out.print(output_preview(view))
                return COMPLETED
            return await write_output(view, parts, form)

    _finish(written())


@app.command()
def cancel(number: RunArgument, project: ProjectOption = Path()) -> None:
    """Cancel a run and wait until it has ended."""

    async def cancelled() -> int:
        async with open_headrace(project) as headrace:
            before = await headrace.show(number)
            if before.status in RUN_TERMINAL:
                err.print(f"run {number} has ended already: {before.status}", highlight=False)
                return COMPLETED
            await headrace.cancel(number)
            view = await headrace.finished(number)
        out.print(run_tree(view))
        return COMPLETED if view.status == RunStatus.CANCELLED else FAILED

    _finish(cancelled())


@app.command()
def db(
    what: Annotated[str, typer.Argument(help="status, dsn (for psql) or migrate.")] = "status",
    project: ProjectOption = Path(),
) -> None:
    """Tell where the database is and whether its migrations are applied."""
    if what not in ("status", "dsn", "migrate"):
        raise typer.BadParameter(f"there is no {what}: status, dsn or migrate", param_hint="WHAT")

    async def told() -> int:
        async with open_database(project.resolve(), migrate=what != "status") as database:
            address = database.address
            if what == "dsn":
                sys.stdout.write(address.dsn + "\n")
                return COMPLETED
            out.print(f"{address.kind} Postgres {address.version}", highlight=False)
            if address.folder is not None:
                out.print(f"data: {address.folder}", highlight=False, soft_wrap=True)
            async with database.pool.acquire() as connection:
                for migration in await migration_status(connection):
                    applied = moment(migration.applied_at) or "not applied"
                    out.print(f"  {migration.name}  {applied}", highlight=False)
        return COMPLETED

    _finish(told())
