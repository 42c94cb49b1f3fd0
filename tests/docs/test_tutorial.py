"""The tutorial and the README's commands, carried out as they are written by somebody who trusts them."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sysconfig
from pathlib import Path

import pytest

from tests.support.checkout import ROOT
from tests.support.documents import Code, code_in
from tests.support.postgres import server_environ, server_home

SECONDS = 60
EXIT_CODE = re.compile(r"# exit code (\d+)$")


class Reader:
    """Somebody at a shell: does what each block of code says, and compares what is printed with what the page shows."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.printed = ""
        scripts = sysconfig.get_path("scripts")
        environ = {name: value for name, value in server_environ(folder).items() if not name.startswith("POSTGRES_")}
        self.environ = {**environ, "PATH": f"{scripts}:{os.environ['PATH']}", "COLUMNS": "120"}

    def take(self, code: Code) -> None:
        """Do what one block of code is there for."""
        if code.language == "sh":
            self.run(code)
        elif code.language == "text":
            self.compare(code)
        else:
            self.write(code)

    def run(self, code: Code) -> None:
        expected = int(found[1]) if (found := EXIT_CODE.search(code.text.strip())) else 0
        place = self.folder / ".place"
        script = f"set -e\ntrap 'pwd >{place}' EXIT\n{code.text}"
        ended, self.printed = self.shell(script, self.where(place))
        assert ended == expected, f"line {code.line}:\n{code.text}\n{self.printed}"

    def shell(self, script: str, folder: Path) -> tuple[int, str]:
        """The exit code and output of a script; all that it started is ended where it takes too long."""
        with subprocess.Popen(
            ["sh", "-c", script], cwd=folder, env=self.environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, start_new_session=True,
        ) as process:  # fmt: skip
            try:
                printed, _ = process.communicate(timeout=SECONDS)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                printed, _ = process.communicate()
                raise AssertionError(f"this took more than {SECONDS} s:\n{script}\n{printed}") from None
        return process.returncode, printed

    def where(self, place: Path) -> Path:
        return Path(place.read_text().strip()) if place.exists() else self.folder

    def compare(self, code: Code) -> None:
        after = 0
        for line in code.text.splitlines():
            found = self.printed.find(line, after)
            assert found >= 0, f"line {code.line}: {line!r} was not printed in its place:\n{self.printed}"
            after = found + len(line)

    def write(self, code: Code) -> None:
        assert code.path, f"line {code.line}: the text does not say which file this is"
        file = self.where(self.folder / ".place") / code.path
        assert file.exists() or not code.added, f"line {code.line}: there is no {code.path} to add to"
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("a" if code.added else "w") as opened:
            opened.write(code.text)


@pytest.mark.timeout(300)
def test_the_tutorial_works_as_it_is_written():
    codes = list(code_in(ROOT / "docs" / "tutorial.md"))
    assert {code.language for code in codes} == {"sh", "text", "yaml", "python", "sql"}
    with server_home() as folder:
        reader = Reader(folder)
        for code in codes:
            reader.take(code)


def test_the_commands_of_the_readme_on_a_project_of_ones_own_work():
    shown = [code.text for code in code_in(ROOT / "README.md") if "headrace init" in code.text]
    assert len(shown) == 1
    with server_home() as folder:
        Reader(folder).run(Code("sh", shown[0].replace(".venv/bin/headrace", "headrace"), 1, None, False))


@pytest.mark.parametrize("command", ["script/start", "script/test"])
def test_the_two_commands_of_the_readme_are_there(command: str):
    shown = next(code_in(ROOT / "README.md")).text
    assert command in shown
    assert os.access(ROOT / command, os.X_OK)
