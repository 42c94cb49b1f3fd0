"""The commands that look at runs: runs, show, logs, output."""

from __future__ import annotations

from dataclasses import replace

from rich.text import Text

from headrace.domain.errors import HeadraceError
from headrace.domain.suggesting import did_you_mean
from headrace.engine.views import LogLineView
from headrace.service import Headrace, open_headrace
from headrace.terminal.errors import ExitCode
from headrace.terminal.forms import OutputForm
from headrace.terminal.looks import moment
from headrace.terminal.outputs import output_table, write_output
from headrace.terminal.pointers import pointers
from headrace.terminal.runs import RunTree, run_error, runs_table
from headrace.terminal.screen import Screen


class BytesForTerminal(HeadraceError):
    """A format of bytes was asked for on a terminal."""

    code = "bytes-for-terminal"


async def list_runs(
    screen: Screen, *, limit: int, before: int | None, pipeline: str | None, status: str | None
) -> ExitCode:
    """Print a page of the project's runs, newest first."""
    async with open_headrace(screen.project, drive=False) as headrace:
        found = await headrace.runs(limit=limit, before=before, pipeline=pipeline, status=status)
    if screen.is_json:
        screen.out.write_json(found)
    elif found:
        screen.out.print(runs_table(found, screen.out.width))
        if len(found) == limit:
            screen.err.say(f"Older ones: {screen.command('runs', '--before', str(found[-1].id))}", "dim")
    else:
        screen.out.say(_none_found(screen, headrace, pipeline, is_filtered=bool(status or before)))
    return ExitCode.COMPLETED


def _none_found(screen: Screen, headrace: Headrace, pipeline: str | None, *, is_filtered: bool) -> str:
    uuids = headrace.project.pipeline_uuids()
    if pipeline is not None and pipeline not in uuids:
        return f"There are no runs of {pipeline}, nor such a pipeline. {did_you_mean(pipeline, uuids)}".rstrip()
    if is_filtered:
        return "There are no such runs."
    first = pipeline or (uuids[0] if uuids else "PIPELINE")
    return f"There are no runs yet: {screen.spelling.run(first)}"


async def show_run(screen: Screen, run: int) -> ExitCode:
    """Print where each block of a run stands, and why what waits waits."""
    async with open_headrace(screen.project, drive=False) as headrace:
        view = await headrace.show(run)
        if screen.is_json:
            screen.out.write_json(view)
            return ExitCode.COMPLETED
        reason = None if view.reason is None else screen.spelling.spelled(view.reason)
        screen.out.print(RunTree(replace(view, reason=reason)))
        if (error := run_error(view, is_plain=not screen.out.is_terminal)) is not None:
            screen.out.print(error, soft_wrap=True)
        screen.tell_next("Where to look", await pointers(headrace, screen.spelling, view))
    return ExitCode.COMPLETED


async def tell_waits(screen: Screen, run: int) -> ExitCode:
    """Print a line for each thing that a run waits for now."""
    async with open_headrace(screen.project, drive=False) as headrace:
        view, waits = await headrace.show(run), await headrace.why(run)
    if screen.is_json:
        screen.out.write_json(waits)
        return ExitCode.COMPLETED
    for told in waits:
        screen.out.say(screen.spelling.spelled(told))
    if not waits:
        screen.out.say(f"Run {run} is {view.status} and waits for nothing.")
    return ExitCode.COMPLETED


async def print_logs(screen: Screen, run: int, block: str | None, *, follow: bool) -> ExitCode:
    """Print what blocks printed and logged; as JSON one object a line."""
    count = 0
    async with open_headrace(screen.project, drive=False) as headrace:
        async for line in headrace.logs(run, block, follow=follow):
            _print_line(screen, line)
            count += 1
            if screen.out.quiet:  # nobody reads any more
                return ExitCode.COMPLETED
    if not count and not screen.is_json:
        screen.err.say(f"Run {run} has no log lines" + (f" of {block}." if block else "."), "dim")
    return ExitCode.COMPLETED


def _print_line(screen: Screen, line: LogLineView) -> None:
    if screen.is_json:
        screen.out.write_json(line, indent=None)
    elif screen.out.is_terminal:
        style = {"stderr": "yellow", "log": "cyan"}.get(line.stream, "green")
        head = Text.assemble((moment(line.at), "dim"), " ", (line.block, style), " ")
        screen.out.print(head + Text.from_ansi(line.text), soft_wrap=True)
    else:
        screen.out.write(f"{moment(line.at)} {line.block} {line.text}\n")


async def print_output(screen: Screen, run: int, block: str, index: int, form: OutputForm) -> ExitCode:
    """Show the first rows of a block's stored output, or write the whole of it in another format."""
    if form is OutputForm.PARQUET and screen.out.is_terminal:
        raise BytesForTerminal("Parquet is not for terminals.", remedy="Write it into a file: … > output.parquet")
    async with open_headrace(screen.project, drive=False) as headrace:
        view, parts = await headrace.output_parts(run, block, index)
        if form is not OutputForm.TABLE:
            return await write_output(view, parts, form, headrace.project)
        screen.out.print(output_table(view, screen.out.width if screen.out.is_terminal else None))
    return ExitCode.COMPLETED
