"""What commands write to: a console that outlives its reader, lines and JSON beside it, warnings of the parts below."""

from __future__ import annotations

import json
import logging
import os
import sys
from dataclasses import asdict, is_dataclass
from datetime import datetime
from traceback import format_exception
from typing import Any

from rich.console import Console

UNWRAPPED = 100_000
"""Columns of output that is no terminal: whoever reads it wants whole lines."""


class PatientConsole(Console):
    """A console that falls silent when its reader has gone: what the command was asked to do goes on."""

    def on_broken_pipe(self) -> None:
        self.quiet = True
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self.file.fileno())
        os.close(nowhere)

    def write(self, text: str) -> None:
        """Write text as it is, neither styled nor wrapped, and at once."""
        if self.quiet:
            return
        try:
            self.file.write(text)
            self.file.flush()
        except BrokenPipeError:
            self.on_broken_pipe()

    def write_json(self, value: Any, *, indent: int | None = 2) -> None:
        """Write a view, a list of views or a mapping as one JSON value, times in ISO 8601."""
        self.write(json.dumps(_plain(value), indent=indent, default=_time, allow_nan=False) + "\n")

    def say(self, text: str, style: str = "") -> None:
        """Print one line of text, its brackets as they are."""
        self.print(text, style=style or None, markup=False, highlight=False, soft_wrap=True)


def standard_output() -> PatientConsole:
    """The console of standard output: as wide as its terminal, or without a width where it is none."""
    return _console(is_error=False)


def standard_error() -> PatientConsole:
    """The console of standard error."""
    return _console(is_error=True)


def _console(*, is_error: bool) -> PatientConsole:
    console = PatientConsole(stderr=is_error, highlight=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = UNWRAPPED
    return console


def _plain(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    return asdict(value) if is_dataclass(value) and not isinstance(value, type) else value


def _time(value: Any) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} has no place in a view")


def open_descriptors() -> None:
    """Give the process a standard input, output and error where its starter closed them.

    Otherwise the next file or socket that is opened would take their numbers and get what is printed. Text that a
    terminal's encoding lacks is replaced, never an error.
    """
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    sys.stdout = sys.stdout or open(1, "w", closefd=False)  # noqa: SIM115 - for the life of the process
    sys.stderr = sys.stderr or open(2, "w", closefd=False)  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if (reconfigure := getattr(stream, "reconfigure", None)) is not None:
            reconfigure(errors="replace")


class Warnings(logging.Handler):
    """Shows what the parts below and the libraries warn of as lines on a console; an error with its traceback."""

    def __init__(self, console: PatientConsole) -> None:
        super().__init__(logging.WARNING)
        self.console = console

    def emit(self, record: logging.LogRecord) -> None:
        self.console.say(f"{record.levelname.lower()}: {record.getMessage()}", "yellow")
        if record.exc_info and record.levelno >= logging.ERROR:
            self.console.say("".join(format_exception(record.exc_info[1])).rstrip())
