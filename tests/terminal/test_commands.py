"""Commands to copy: how the program and the project are spelled for whoever is to type them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from headrace.terminal.commands import Spelling, nearest_project, project_at_hand

from tests.support.projects import write_pipeline, write_project


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = write_project(tmp_path / "my mill")
    write_pipeline(root, "flour", {"a": ()})
    monkeypatch.chdir(root)
    monkeypatch.delenv("HEADRACE_PROJECT", raising=False)
    monkeypatch.setattr(sys, "argv", ["headrace"])
    return root


def test_the_nearest_project_is_above_and_is_no_pipelines_folder(project, monkeypatch):
    inside = project / "pipelines" / "flour"
    assert nearest_project(inside) == nearest_project(project) == project
    assert nearest_project(Path("/")) == Path("/")
    assert project_at_hand() == Path()
    monkeypatch.chdir(inside)
    assert project_at_hand() == Path("../..")


def test_the_project_is_named_only_where_it_must_be(project, monkeypatch):
    here, there = Spelling(Path()), Spelling(Path("../my mill"))
    assert here.command("show", "3") == there.command("show", "3") == "headrace show 3"
    assert here.command("resume") == "headrace resume"
    assert there.run("flour") == "headrace run . flour"
    monkeypatch.chdir(project.parent)
    outside = Spelling(Path("my mill"))
    assert outside.command("show", "3") == "headrace show 3 -p 'my mill'"
    assert outside.command("resume") == "headrace resume 'my mill'"
    assert outside.run("flour") == "headrace run 'my mill' flour"
    assert outside.spelled("Try `headrace why 3`, or `true`.") == "Try `headrace why 3 -p 'my mill'`, or `true`."


def test_the_environment_can_name_the_project(project, monkeypatch):
    monkeypatch.chdir("/")
    monkeypatch.setenv("HEADRACE_PROJECT", str(project))
    assert Spelling(project).command("runs") == "headrace runs"


@pytest.mark.parametrize(
    ("place", "spelled"), [("my mill", ".venv/bin/headrace"), (".", "/nowhere/.venv/bin/headrace")]
)
def test_a_program_that_is_not_on_the_path_is_named_by_its_own(project, monkeypatch, place, spelled):
    monkeypatch.setenv("PATH", "/nowhere")
    script = (project if place == "my mill" else Path("/nowhere")) / ".venv" / "bin" / "headrace"
    monkeypatch.setattr(sys, "argv", [str(script)])
    assert Spelling(Path()).command("runs") == f"{spelled} runs"
