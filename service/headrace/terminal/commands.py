"""Commands as this reader can type them: how the program was called, and which project `-p` must name."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

SETTING = "HEADRACE_PROJECT"
_SETTINGS = "metadata.yaml"
_QUOTED = re.compile(r"`headrace (\w+)([^`]*)`")
_BY_OPTION = frozenset(
    {
        "runs",
        "show",
        "logs",
        "output",
        "cancel",
        "retry",
        "why",
        "db",
        "events",
        "backfill",
        "backfills",
        "schedule",
        "tokens",
        "sensors",
        "triggers",
    }
)
_BY_ARGUMENT = frozenset({"start", "resume", "check", "test"})


def nearest_project(folder: Path) -> Path:
    """The project that a folder lies in, or the folder itself; a pipeline's folder is no project."""
    for candidate in (folder, *folder.parents):
        if (candidate / _SETTINGS).is_file() and candidate.parent.name != "pipelines":
            return candidate
    return folder


def project_at_hand() -> Path:
    """The nearest project above the working folder, as a path from there; the folder itself where there is none."""
    return Path(os.path.relpath(nearest_project(Path.cwd())))


@dataclass(frozen=True)
class Spelling:
    """How commands on `project` are spelled for whoever started this process."""

    project: Path

    @cached_property
    def program(self) -> str:
        """`headrace` where the shell finds it, else the path of the script that runs."""
        script = Path(sys.argv[0])
        found = shutil.which("headrace")
        if script.name != "headrace" or (found and os.path.samefile(found, script)):
            return "headrace"
        return os.path.relpath(script) if script.resolve().is_relative_to(Path.cwd()) else str(script.absolute())

    @cached_property
    def is_implied(self) -> bool:
        """Whether commands find the project without being told it."""
        implied = os.environ.get(SETTING) or nearest_project(Path.cwd())
        return Path(implied).resolve() == self.project.resolve()

    def command(self, name: str, *words: str) -> str:
        """A command line to copy, with the project where it must be named."""
        spelled = [name, *words]
        if not self.is_implied and name in _BY_ARGUMENT:
            spelled.insert(1, str(self.project))
        if not self.is_implied and name in _BY_OPTION:
            spelled += ["-p", str(self.project)]
        return f"{shlex.quote(self.program)} {shlex.join(spelled)}"

    def run(self, pipeline: str, *words: str) -> str:
        """The command line that runs a pipeline; the project is always named there."""
        return self.command("run", os.path.relpath(self.project) if self.is_implied else str(self.project),
                            pipeline, *words)  # fmt: skip

    def spelled(self, text: str) -> str:
        """A text with the commands in it that stand between backticks spelled for this reader."""
        return _QUOTED.sub(lambda match: f"`{self.command(match[1], *match[2].split())}`", text)
