"""What every command is given: where it writes, which project it is about, and whether a program reads it."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path

from headrace.terminal.commands import Spelling
from headrace.terminal.console import PatientConsole, Warnings, standard_error, standard_output


@dataclass
class Screen:
    """The two consoles of a command on one project; with `is_json` standard output gets JSON and nothing else."""

    project: Path
    is_json: bool = False
    out: PatientConsole = field(default_factory=standard_output)
    err: PatientConsole = field(default_factory=standard_error)

    def __post_init__(self) -> None:
        self.spelling = Spelling(self.project)
        self.warnings = Warnings(self.err)
        logging.getLogger().addHandler(self.warnings)

    def command(self, name: str, *words: str) -> str:
        """A command line to copy, on this project."""
        return self.spelling.command(name, *words)

    def tell_next(self, title: str, lines: list[tuple[str, str]]) -> None:
        """Print a paragraph of commands to copy, each with what it is for."""
        width = max((len(label) for label, _ in lines), default=0)
        self.out.say("")
        self.out.say(title, "bold")
        for label, command in lines:
            self.out.say(f"  {label:<{width}}  {command}")
