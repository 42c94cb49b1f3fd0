"""How a run that goes on is shown: a live tree in a terminal, a line a change elsewhere, or nothing."""

from __future__ import annotations

from typing import Protocol, Self

from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live

from headrace.engine.views import RunView
from headrace.terminal.console import PatientConsole
from headrace.terminal.runs import RunTree, new_lines

FRAMES_A_SECOND = 10


class Display(Protocol):
    """Shows a run while it goes on; used as a context manager."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...

    def show(self, view: RunView) -> None:
        """Take in how the run stands now."""

    def note(self, text: str) -> None:
        """Tell something beside."""


class LiveTree:
    """A tree that is drawn over itself, and gone at the end: whoever wants it to stay prints it then."""

    def __init__(self, console: PatientConsole) -> None:
        self.console = console
        self._view: RunView | None = None
        self._note = ""
        self._live = Live(
            self, console=console, refresh_per_second=FRAMES_A_SECOND, transient=True, redirect_stdout=False
        )

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        if self._view is not None:
            yield RunTree(self._view, note=self._note, most=console.height - 1)

    def show(self, view: RunView) -> None:
        self._view = view

    def note(self, text: str) -> None:
        self._note = text


class ChangeLines:
    """A line for each change, for output that is no terminal; notes go to the other console."""

    def __init__(self, console: PatientConsole, notes: PatientConsole) -> None:
        self.console = console
        self.notes = notes
        self._seen: set[tuple[str, int, str]] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing is left to do."""

    def show(self, view: RunView) -> None:
        for line in new_lines(self._seen, view):
            self.console.say(line)

    def note(self, text: str) -> None:
        self.notes.say(text)


class Silence:
    """Shows nothing of the run; notes are told."""

    def __init__(self, notes: PatientConsole) -> None:
        self.notes = notes

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing is left to do."""

    def show(self, view: RunView) -> None:
        """Nothing is shown."""

    def note(self, text: str) -> None:
        self.notes.say(text)
