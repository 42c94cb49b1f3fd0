"""The commands about a project's files: init, check, test."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from textwrap import indent

from rich.text import Text

from headrace.domain.errors import HeadraceError
from headrace.engine.views import TestReport
from headrace.project.creation import init_project
from headrace.project.faults import Fault, ProjectFault, Severity
from headrace.project.reading import read_pipeline, read_project
from headrace.service import open_headrace
from headrace.terminal.errors import ExitCode, place_of, tell
from headrace.terminal.looks import counted
from headrace.terminal.screen import Screen


class NothingToTest(HeadraceError):
    """No block of the pipelines that were to be tested has ever completed."""

    code = "nothing-to-test"


def make_project(screen: Screen) -> ExitCode:
    """Make a new project, and say what was written and what to try."""
    for path in init_project(screen.project):
        screen.out.print(Text.assemble(("+", "green"), f" {path}"), soft_wrap=True)
    screen.tell_next("Now try", [("run it", screen.spelling.run("example")),
                                 ("check it", screen.command("check"))])  # fmt: skip
    return ExitCode.COMPLETED


def check_files(screen: Screen) -> ExitCode:
    """Print every fault of a project's files, a line each where it is no terminal: file, line, what, and what to do."""
    from headrace.project.checking import check_project

    faults = check_project(screen.project)
    errors = sum(fault.severity is Severity.ERROR for fault in faults)
    if screen.is_json:
        screen.out.write_json(faults)
    else:
        for fault in faults:
            _print_fault(screen, fault)
        _print_sum(screen, errors, len(faults) - errors)
    return ExitCode.INVALID if errors else ExitCode.COMPLETED


def _print_fault(screen: Screen, fault: Fault) -> None:
    style = "bold red" if fault.severity is Severity.ERROR else "yellow"
    line = Text.assemble((place_of(fault, screen.project), "bold"), ": ", (fault.severity, style), f": {fault.message}")
    remedy = screen.spelling.spelled(fault.remedy)
    if remedy:
        line.append(f"\n  → {remedy}" if screen.out.is_terminal else f" {remedy}")
    screen.out.print(line, soft_wrap=True)


def _print_sum(screen: Screen, errors: int, warnings: int) -> None:
    told = [counted(number, noun) for number, noun in ((errors, "error"), (warnings, "warning")) if number]
    glyph, style = ("✘", "bold red") if errors else ("✔", "green")
    screen.out.print(Text.assemble((glyph, style), " ", ", ".join(told) or "nothing to mend"))


async def test_outputs(screen: Screen, pipeline: str | None) -> ExitCode:
    """Run each block's tests on its newest stored outputs, of one pipeline or of all; a broken one hides no other."""
    if pipeline is not None:
        read_pipeline(read_project(screen.project.resolve()), pipeline)  # a fault is told before anything is started
    worst = ExitCode.COMPLETED
    reports: list[tuple[str, TestReport]] = []
    async with open_headrace(screen.project, spares=0) as headrace:
        uuids = headrace.project.pipeline_uuids() if pipeline is None else (pipeline,)
        for uuid in uuids:
            try:
                found = [(uuid, report) for report in await headrace.test(uuid)]
            except ProjectFault as error:
                worst = tell(screen, error) or ExitCode.INVALID
                continue
            reports += found
            if not screen.is_json:
                _print_reports(screen, found)
    _tell_sum(screen, reports)
    if not any(report.run for _, report in reports) and worst is ExitCode.COMPLETED:
        first = screen.spelling.run(pipeline or (uuids[0] if uuids else "PIPELINE"))
        raise NothingToTest("No block has stored outputs to test.", remedy=f"Run a pipeline first: {first}")
    return max(worst, ExitCode.FAILED) if any(report.is_bad for _, report in reports) else worst


def _print_reports(screen: Screen, reports: Sequence[tuple[str, TestReport]]) -> None:
    for uuid, report in reports:
        glyph, style, told = _verdict(report)
        screen.out.print(Text.assemble((glyph, style), f" {uuid}/{report.block}: {told}"), soft_wrap=True)
        if report.failure:
            screen.out.print(Text.from_ansi(indent(report.failure, "  ")), soft_wrap=True)


def _verdict(report: TestReport) -> tuple[str, str, str]:
    if report.run is None:
        return "·", "dim", "has never completed"
    if report.is_bad and not report.failed:
        return "✘", "bold red", f"its tests cannot run on its output of run {report.run}"
    counts = [f"{report.failed} failed"] if report.failed else []
    counts += [f"{report.passed} passed"] if report.passed else []
    if not counts:
        return "·", "dim", "has no tests"
    glyph, style = ("✘", "bold red") if report.failed else ("✔", "green")
    return glyph, style, f"{', '.join(counts)} on run {report.run}"


def _tell_sum(screen: Screen, reports: Sequence[tuple[str, TestReport]]) -> None:
    if screen.is_json:
        screen.out.write_json([{"pipeline": uuid, **asdict(report)} for uuid, report in reports])
        return
    passed, failed = (sum(getattr(report, name) for _, report in reports) for name in ("passed", "failed"))
    never = sum(report.run is None for _, report in reports)
    told = [f"{counted(passed + failed, 'test')}: {passed} passed, {failed} failed"]
    told += [f"{counted(never, 'block')} never completed"] if never else []
    screen.out.say("; ".join(told), "bold")
