"""What is wrong with a project's files: where, what, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from headrace.domain.errors import HeadraceError


class Severity(StrEnum):
    """Whether a fault keeps something from running."""

    ERROR = "error"
    """What it is about cannot run."""
    WARNING = "warning"
    """It runs, perhaps not as meant."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong in a project. `file` is relative to the project's folder, `line` counts from 1."""

    file: str
    line: int | None
    key: str
    message: str
    remedy: str = ""
    severity: Severity = Severity.ERROR

    def __str__(self) -> str:
        place = self.file if self.line is None else f"{self.file}:{self.line}"
        return f"{place}: {self.severity}: {self.message} {self.remedy}".strip()


class ProjectFault(HeadraceError):
    """A project, or one of its pipelines, cannot be read; `faults` are all the reasons, warnings left out."""

    code = "project-fault"

    def __init__(self, subject: str, faults: Sequence[Fault]) -> None:
        told = "\n".join(f"  {fault}" for fault in faults)
        super().__init__(f"{subject} cannot be read:\n{told}", remedy="")
        self.faults = tuple(faults)


class NoProject(ProjectFault):
    """There is no project in a folder."""

    code = "no-project"


class UnknownPipeline(HeadraceError):
    """The project has no pipeline of this uuid."""

    code = "unknown-pipeline"


def errors_of(faults: Iterable[Fault]) -> tuple[Fault, ...]:
    """Those faults that keep something from running."""
    return tuple(fault for fault in faults if fault.severity is Severity.ERROR)
