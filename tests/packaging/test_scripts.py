"""script/setup with a Python that only notes what it is asked for, and the real script/start."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sysconfig
from pathlib import Path

import pytest

from tests.support.checkout import ROOT
from tests.support.postgres import server_environ, server_home

SCRIPTS = ("script/setup", "script/start", "script/test")
TOOLS = ("cat", "cksum", "cp", "dirname", "mkdir", "rm", "sh")
PYTHON = """#!/bin/sh
echo "$*" >>"$LEDGER"
case "$*" in
    "-m venv .venv") mkdir -p .venv/bin && cp "$0" .venv/bin/python ;;
    *"pip install"*) exit "${PIP_EXIT:-0}" ;;
esac
"""


class Checkout:
    """A folder with script/setup in it, and a machine with a few tools and perhaps a Python."""

    def __init__(self, folder: Path, *, has_python: bool = True) -> None:
        self.folder = folder / "checkout"
        self.ledger = folder / "ledger"
        self.tools = folder / "bin"
        self.tools.mkdir()
        for name in TOOLS:
            (self.tools / name).symlink_to(shutil.which(name))
        if has_python:
            (self.tools / "python3").write_text(PYTHON)
            (self.tools / "python3").chmod(0o755)
        (self.folder / "script").mkdir(parents=True)
        for name in ("script/setup", "pyproject.toml", "constraints.txt"):
            shutil.copy(ROOT / name, self.folder / name)

    def setup(self, *arguments: str, **environ: str) -> tuple[int, list[str], str]:
        """The exit code, what Python was asked for beside trials, and what was said."""
        self.ledger.write_text("")
        given = {"PATH": str(self.tools), "LEDGER": str(self.ledger), **environ}
        command = [str(self.folder / "script" / "setup"), *arguments]
        ended = subprocess.run(command, env=given, capture_output=True, text=True, check=False, cwd="/")
        asked = [line for line in self.ledger.read_text().splitlines() if line.startswith("-m ")]
        return ended.returncode, asked, ended.stdout + ended.stderr


VENV = "-m venv .venv"
PIP = "-m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable "


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path)


def test_the_second_set_up_does_nothing(checkout: Checkout):
    assert checkout.setup()[:2] == (0, [VENV, PIP + "."])
    assert checkout.setup() == (0, [], "")


def test_what_developers_need_serves_users_too_but_not_the_other_way_round(checkout: Checkout):
    assert checkout.setup()[0] == 0
    assert checkout.setup("dev")[:2] == (0, [PIP + ".[dev]"])
    assert checkout.setup()[:2] == (0, [])
    assert checkout.setup("dev")[:2] == (0, [])


@pytest.mark.parametrize("name", ["pyproject.toml", "constraints.txt"])
def test_other_requirements_are_installed_into_the_same_environment(checkout: Checkout, name: str):
    checkout.setup()
    with (checkout.folder / name).open("a") as file:
        file.write("\n")
    assert checkout.setup()[:2] == (0, [PIP + "."])


def test_a_set_up_that_failed_is_taken_up_again(checkout: Checkout):
    assert checkout.setup(PIP_EXIT="1")[:2] == (1, [VENV, PIP + "."])
    assert checkout.setup()[:2] == (0, [PIP + "."])


def test_an_environment_that_was_left_half_made_is_made_anew(checkout: Checkout):
    half = checkout.folder / ".venv" / "bin"
    half.mkdir(parents=True)
    shutil.copy(checkout.tools / "python3", half / "python")
    assert checkout.setup()[:2] == (0, [VENV, PIP + "."])


def test_a_checkout_that_was_moved_gets_a_new_environment(checkout: Checkout):
    checkout.setup()
    checkout.folder = checkout.folder.rename(checkout.folder.with_name("moved"))
    assert checkout.setup()[:2] == (0, [VENV, PIP + "."])


def test_a_machine_without_python_is_told_what_to_install(tmp_path: Path):
    code, _, told = Checkout(tmp_path, has_python=False).setup()
    assert code == 1
    assert "no Python 3.11 or newer" in told
    assert "PYTHON=/path/to/python3" in told


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_is_executable_and_written_for_any_posix_shell(name: str):
    path = ROOT / name
    assert os.access(path, os.X_OK)
    assert path.read_text().startswith("#!/bin/sh\n")


def test_shellcheck_finds_nothing():
    linter = Path(sysconfig.get_path("scripts")) / "shellcheck"
    told = subprocess.run([linter, *SCRIPTS, ".ci/run"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stdout


@pytest.mark.timeout(300)
def test_start_runs_the_job_without_a_postgres_on_the_path_says_where_to_look_and_runs_again(tmp_path: Path):
    if (ROOT / ".env").exists():
        pytest.skip("this checkout has a .env: its job would write to the server that is named there")
    for name in (*TOOLS, "ls"):
        (tmp_path / name).symlink_to(shutil.which(name))
    with server_home() as home:
        environ = {name: value for name, value in server_environ(home).items() if not name.startswith("POSTGRES_")}
        environ |= {"PATH": str(tmp_path), "COLUMNS": "200"}
        for _ in range(2):
            ended = answer([str(ROOT / "script" / "start")], environ)
            for block in ("load_api_data", "transform_taxi_data", "taxi_data_to_postgres", "load_taxi_data"):
                assert block in ended.stdout
            assert ended.stderr == ""
        named = [line.split(maxsplit=1) for line in ended.stdout.partition("Where to look\n")[2].splitlines()]
        shown = {what: answer(shlex.split(command), environ).stdout for what, command in named}
    assert {"rows", "output", "logs"} <= set(shown)
    assert "(10 rows)" in shown["rows"]
    assert "10 rows, 18 columns" in shown["output"]
    assert "Num rows with zero passengers: " in shown["logs"]


def answer(command: list[str], environ: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """What a command that must succeed printed, called in the checkout."""
    ended = subprocess.run(command, env=environ, cwd=ROOT, capture_output=True, text=True, timeout=90, check=False)
    assert ended.returncode == 0, f"{command}\n{ended.stdout}\n{ended.stderr}"
    return ended
