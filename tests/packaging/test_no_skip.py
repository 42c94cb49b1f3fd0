"""HEADRACE_TEST_NO_SKIP=1 turns each kind of skip into a failure that keeps its reason."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.checkout import ROOT
from tests.support.no_skip import SETTING

TESTS = """
import pytest

def test_that_skips_inside():
    pytest.skip("no broker")

@pytest.mark.skipif(True, reason="no server")
def test_that_is_marked():
    pass

@pytest.fixture
def cluster():
    pytest.skip("no cluster")

def test_with_a_fixture_that_skips(cluster):
    pass

@pytest.mark.may_skip
def test_that_may_skip():
    pytest.skip("no published file")

@pytest.mark.xfail(strict=True)
def test_that_is_expected_to_fail():
    assert False

def test_that_passes():
    pass
"""


def outcome(folder: Path, no_skip: str | None, *arguments: str) -> tuple[int, str]:
    """Exit code and output of pytest on a folder, with the hooks that our own tests run under."""
    environ = {name: value for name, value in os.environ.items() if name != SETTING}
    environ["PYTHONPATH"] = str(ROOT)
    if no_skip is not None:
        environ[SETTING] = no_skip
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "tests.support.no_skip",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:asyncio",
        "-rfE",
        *arguments,
        str(folder),
    ]
    configured = ["-c", str(folder / "pytest.ini"), "--rootdir", str(folder)]
    ended = subprocess.run(
        [*command, *configured], env=environ, capture_output=True, text=True, cwd=folder, check=False
    )
    return ended.returncode, ended.stdout + ended.stderr


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = may_skip\n")
    (tmp_path / "test_some.py").write_text(TESTS)
    return tmp_path


@pytest.mark.parametrize("no_skip", [None, "0"])
def test_skips_are_skips_where_nothing_else_is_asked(folder: Path, no_skip: str | None):
    code, told = outcome(folder, no_skip)
    assert code == 0, told
    assert "1 passed, 4 skipped, 1 xfailed" in told


@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["one after another", "side by side"])
def test_skips_fail_where_none_is_allowed_and_keep_their_reasons(folder: Path, workers: tuple[str, ...]):
    code, told = outcome(folder, "1", *workers)
    assert code == 1
    assert "1 failed, 1 passed, 1 skipped, 1 xfailed, 2 errors" in told
    for reason in ("no broker", "no server", "no cluster"):
        assert f"{SETTING} allows no skip here, and this was one: Skipped: {reason}" in told


@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["one after another", "side by side"])
def test_a_file_that_is_skipped_as_a_whole_fails(folder: Path, workers: tuple[str, ...]):
    (folder / "test_whole.py").write_text("import pytest\n\npytest.importorskip('nowhere_at_all')\n")
    assert outcome(folder, None)[0] == 0
    code, told = outcome(folder, "1", *workers)
    assert code != 0
    assert "could not import 'nowhere_at_all'" in told
