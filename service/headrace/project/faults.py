"""What is wrong with a project's files, told with file, line, key and what to do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from headrace.domain.errors import HeadraceError


class Severity(StrEnum):
    """How bad a fault is."""

    ERROR = "error"
    """What the fault is about cannot run."""
    WARNING = "warning"
    """It runs, perhaps not as meant."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong. `file` is relative to the project, `line` counts from 1."""

    file: str
    line: int | None
    key: str
    message: str
    remedy: str = ""
    severity: Severity = Severity.ERROR

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        return f"{place}: {self.message} {self.remedy}".strip()


class ProjectFault(HeadraceError):
    """A project or a pipeline cannot be used; `faults` tells each reason."""

    code = "project-fault"

    def __init__(self, faults: Sequence[Fault]) -> None:
        super().__init__("\n".join(str(fault) for fault in faults))
        self.faults = tuple(faults)
