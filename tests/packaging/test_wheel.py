"""What `pip install` brings: everything the package reads, and commands that work far from the checkout."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.checkout import ROOT
from tests.support.postgres import server_environ, server_home


def build(source: Path, target: Path, kind: str = "wheel") -> Path:
    """A distribution of a source tree, by the project's build backend."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", kind, "-d", str(target)]
    subprocess.run(command, cwd=source, check=True, capture_output=True, timeout=60)
    (built,) = target.iterdir()
    return built


def files_in(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if ".dist-info/" not in name}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(ROOT, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def installed(wheel: Path) -> Iterator[Path]:
    """The scripts of a fresh environment with the wheel in it; what Headrace needs is lent by ours, for speed."""
    with server_home() as folder:
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder / "venv")], check=True, timeout=60)
        scripts = folder / "venv" / "bin"
        pip = [sys.executable, "-m", "pip", "--python", str(scripts / "python"), "install", "--no-deps", "--no-index"]
        subprocess.run([*pip, "--quiet", str(wheel)], check=True, timeout=60, env=quiet_pip())
        ours = sysconfig.get_path("purelib")
        theirs = subprocess.run([scripts / "python", "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
                                check=True, capture_output=True, text=True).stdout.strip()  # fmt: skip
        (Path(theirs) / "lent.pth").write_text(ours + "\n")
        yield scripts


def quiet_pip() -> dict[str, str]:
    """An environment in which pip reads no settings of this machine."""
    return {**{name: value for name, value in os.environ.items() if not name.startswith("PIP_")}, "PIP_CONFIG_FILE": os.devnull}  # fmt: skip


def test_the_wheel_holds_every_file_of_the_package_and_every_migration(wheel: Path):
    package = ROOT / "service"
    sources = {
        str(path.relative_to(package))
        for path in (package / "headrace").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    migrations = {f"headrace/migrations/{path.name}" for path in (ROOT / "migrations").iterdir()}
    assert {path.rpartition(".")[2] for path in sources} >= {"py", "sql", "template", "typed"}
    assert len(migrations) > 0
    assert files_in(wheel) == sources | migrations


def test_a_wheel_made_from_the_source_distribution_is_the_same(wheel: Path, tmp_path: Path):
    packed = build(ROOT, tmp_path / "sdist", "sdist")
    subprocess.run(["tar", "-xzf", str(packed), "-C", str(tmp_path)], check=True)
    (unpacked,) = tmp_path.glob("headrace-*")
    assert not (unpacked / "tests").exists()
    assert files_in(build(unpacked, tmp_path / "again")) == files_in(wheel)


def test_every_requirement_of_the_wheel_is_pinned_in_the_constraints(wheel: Path):
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith("/METADATA")]
        metadata = archive.read(name).decode()
    needed = [
        line.removeprefix("Requires-Dist: ") for line in metadata.splitlines() if line.startswith("Requires-Dist: ")
    ]
    pinned = {
        line.partition("==")[0].lower().replace("_", "-") for line in (ROOT / "constraints.txt").read_text().split()
    }
    assert needed
    assert {canonical(requirement) for requirement in needed} <= pinned


def canonical(requirement: str) -> str:
    """The name at the start of a requirement."""
    name = "".join(character if character.isalnum() or character in "-_." else " " for character in requirement)
    return name.split()[0].lower()


def test_an_installed_headrace_makes_and_runs_a_project_far_from_the_checkout(installed: Path):
    place = installed.parent.parent

    def headrace(*arguments: str) -> str:
        environ = {**server_environ(place), "PATH": f"{installed}:/usr/bin:/bin"}
        environ.pop("PYTHONPATH", None)
        command = [str(installed / "headrace"), *arguments]
        ended = subprocess.run(command, cwd=place, env=environ, capture_output=True, text=True, timeout=60, check=False)
        assert ended.returncode == 0, ended.stdout + ended.stderr
        return ended.stdout

    where = "import headrace.store.migrations as m, headrace; print(headrace.__file__)"
    found = subprocess.run([installed / "python", "-c", where], cwd=place, check=True, capture_output=True, text=True)
    assert found.stdout.startswith(str(place)), "the wheel's package is the one that is imported"

    assert "headrace run" in headrace("init", "mill")
    assert "example" in headrace("run", "mill", "example")
    assert headrace("output", "1", "count_words", "--format", "csv", "-p", "mill").startswith("word,count\n")
