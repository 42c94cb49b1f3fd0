"""What many commands take, and how each begins and ends. Imports nothing slow: `--help` needs it."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

if TYPE_CHECKING:
    from headrace.terminal.screen import Screen

ProjectOption = Annotated[
    Path | None,
    typer.Option(
        "--project", "-p", metavar="FOLDER", envvar="HEADRACE_PROJECT", show_envvar=True, show_default=False,
        help="The project's folder; the nearest one above if left out.",
    ),
]  # fmt: skip
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for programs, and nothing else.")]


def screen_of(project: Path | None, *, is_json: bool = False) -> Screen:
    from headrace.terminal.commands import project_at_hand
    from headrace.terminal.screen import Screen

    return Screen(project_at_hand() if project is None else project, is_json)


def finish(screen: Screen, work: Callable[[], int] | Coroutine[Any, Any, int]) -> NoReturn:
    from headrace.terminal import errors

    raise typer.Exit(errors.finish(screen, work))
