"""What the command line says of itself, and that it loads no more than a command needs."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import version

import pytest

HEAVY = ("aiohttp", "asyncpg", "jinja2", "pandas", "pyarrow", "pydantic", "rich.console", "sqlglot", "yaml", "asyncio")
NOT_TO_LOOK = ("aiohttp", "headrace.engine.engine", "pandas", "pyarrow", "pydantic", "sqlglot")


def loaded_by(module: str) -> set[str]:
    script = f"import sys; import {module}; print(*sys.modules)"
    return set(
        subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout.split()
    )


def test_help_is_not_kept_waiting_by_what_commands_need():
    assert not loaded_by("headrace.cli").intersection(HEAVY)


@pytest.mark.parametrize("module", ["looking", "running", "projects", "database"])
def test_no_command_loads_what_only_workers_and_servers_need(module):
    assert not loaded_by(f"headrace.terminal.{module}").intersection(NOT_TO_LOOK)


def said(*words: str) -> str:
    command = [sys.executable, "-m", "headrace", *words]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout


def test_the_version_is_that_of_the_package():
    assert said("--version") == f"headrace {version('headrace')}\n"


def test_help_names_every_command_and_every_exit_code():
    told = said("--help")
    commands = {line.split()[0] for line in told.partition("Commands:\n")[2].splitlines() if line.startswith("  ")}
    assert commands >= {
        "init", "check", "run", "runs", "show", "why", "logs", "output", "test", "retry", "resume", "cancel", "db",
    }  # fmt: skip
    assert "Exit codes: 0 completed, 1 failed, 2 invalid, 3 no database, 130 cancelled" in " ".join(told.split())
