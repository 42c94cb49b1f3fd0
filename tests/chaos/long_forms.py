"""The long forms of the tests of this folder: what each is called, what asks for it, and what it came to."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.chaos.telling import SETTING
from tests.support.checkout import ROOT


@dataclass(frozen=True, slots=True)
class LongForm:
    """Tests that an environment makes long."""

    environ: Mapping[str, str]
    tests: tuple[str, ...]

    @property
    def command(self) -> str:
        """What somebody types who wants this one alone."""
        settings = [f"{name}={value}" for name, value in self.environ.items()]
        return " ".join([*settings, "script/test", *self.tests])


LONG_FORMS: Mapping[str, LongForm] = {
    "postgres": LongForm({"HEADRACE_CHAOS_POSTGRES_SECONDS": "120"}, ("tests/chaos/test_storm.py", "-k fault_05")),
    "backends": LongForm({"HEADRACE_CHAOS_BACKENDS_SECONDS": "60"}, ("tests/chaos/test_storm.py", "-k fault_08")),
    "connections": LongForm({"HEADRACE_CHAOS_INSTANTS": "100"}, ("tests/chaos/test_connections.py",)),
    "holders": LongForm({"HEADRACE_CHAOS_HOLDERS": "50"}, ("tests/chaos/test_holders.py",)),
    "events": LongForm({"HEADRACE_CHAOS_EVENTS": "10000"}, ("tests/chaos/test_one_active_run.py",)),
    "schedules": LongForm({"HEADRACE_CHAOS_SECONDS": "30"}, ("tests/chaos/test_schedules.py",)),
    "kills": LongForm({"HEADRACE_CHAOS_INSTANTS": "100"}, ("tests/chaos/test_kills.py",)),
    "busy": LongForm({"HEADRACE_CHAOS_BUSY_SECONDS": "30"}, ("tests/chaos/test_busy_code.py",)),
}


def run_long_forms(names: Iterable[str]) -> Iterator[tuple[str, bool, list[str]]]:
    """Run long forms one after the other; of each, its name, whether it held, and what it came to."""
    for name in names:
        began = time.monotonic()
        held, told = _run(LONG_FORMS[name])
        yield name, held, [*told, f"took {time.monotonic() - began:.0f} s"]


def _run(form: LongForm) -> tuple[bool, list[str]]:
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report"
        arguments = [word for test in form.tests for word in test.split()]
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", *arguments],
            cwd=ROOT, env={**os.environ, **form.environ, SETTING: str(report)}, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        told = report.read_text().splitlines() if report.exists() else []
        said = done.stdout.splitlines()
    return done.returncode == 0, told + (said[-1:] if done.returncode == 0 else said[-60:])
