"""The commands about a project's files: init, check, test."""

from __future__ import annotations

import pytest

from tests.support.projects import write_pipeline, write_project
from tests.support.shell import Shell

TESTED = """@custom
def body(*args):
    return 1

@test
def is_one(value, *args):
    assert value == 1

{more}"""
FAILS = "@test\ndef is_two(value, *args):\n    assert value == 2, 'it is not two'\n"
RAISES = "@test\ndef raises(value, *args):\n    return {}['gone']\n"


def test_a_new_project_says_what_to_do_and_that_works(headrace):
    made = headrace("init", "../new mill", code=0)
    assert "+ ../new mill/pipelines/example/metadata.yaml" in made.lines
    commands = [line[line.index("headrace") :] for line in made.lines if " headrace " in line]
    assert commands == ["headrace run '../new mill' example", "headrace check '../new mill'"]
    ran, checked = headrace.each(*commands, code=0)
    assert "of example: completed" in ran.out
    assert checked.out == "✔ nothing to mend\n"
    again = headrace("init", "../new mill", code=2)
    assert again.err.startswith("error[cannot-create-project]: ../new mill is a project already.")


@pytest.fixture
def broken(headrace: Shell) -> str:
    """A project with two errors in one pipeline, a warning in another, and a third one that is good."""
    root = write_project(headrace.project.parent / "broken")
    write_pipeline(root, "bad", {"a": ("gone",)}, {"a": "def f(:\n"})
    write_pipeline(root, "odd", {"a": ()}, {"a": "@custom\ndef one(): ...\n@custom\ndef two(): ...\n"})
    write_pipeline(root, "good", {"a": ()}, {"a": TESTED.format(more="")})
    return "../broken"


def test_check_tells_file_and_line_of_each_fault_as_an_editor_takes_them(headrace, broken):
    from_here, there, as_json = headrace.each(
        f"headrace check {broken}", f"cd {broken}/pipelines && headrace check", f"headrace check {broken} --json"
    )
    assert (from_here.code, there.code, as_json.code) == (2, 2, 2)
    faults = [line.split(": ")[:2] for line in from_here.lines[:-1]]
    assert faults == [
        ["../broken/pipelines/bad/metadata.yaml:9", "error"],
        ["../broken/pipelines/bad/a.py:1", "error"],
        ["../broken/pipelines/odd/a.py:3", "warning"],
    ]
    assert from_here.lines[-1] == "✘ 2 errors, 1 warning"
    assert from_here.err == ""
    assert there.lines[0].startswith("../pipelines/bad/metadata.yaml:9: error: ")
    assert [(fault["file"], fault["line"], fault["severity"]) for fault in as_json.json] == [
        ("pipelines/bad/metadata.yaml", 9, "error"), ("pipelines/bad/a.py", 1, "error"),
        ("pipelines/odd/a.py", 3, "warning"),
    ]  # fmt: skip


def test_one_broken_pipeline_keeps_no_other_from_running(headrace, broken):
    bad = headrace("run", broken, "bad", code=2)
    assert bad.err.startswith("error[project-fault]: ../broken/pipelines/bad/metadata.yaml:9: ")
    assert "→ " in bad.err
    assert headrace("run", broken, "good", "--json", code=0).json["status"] == "completed"
    tests = headrace("test", broken, code=2)
    assert "✔ good/a: 1 passed on run" in tests.out
    assert "error[project-fault]: ../broken/pipelines/bad/metadata.yaml:9" in tests.err


def test_tests_run_on_the_outputs_that_are_stored(headrace):
    source = (
        write_pipeline(headrace.project, "tested", {"a": (), "plain": ("a",)}, {"a": TESTED.format(more="")}) / "a.py"
    )
    nothing = headrace("test", ".", "tested", code=2)
    assert "· tested/a: has never completed" in nothing.lines
    assert nothing.err == (
        "error[nothing-to-test]: No block has stored outputs to test.\n→ Run a pipeline first: headrace run . tested\n"
    )
    headrace("run", ".", "tested", code=0)
    good = headrace("test", code=0)
    assert good.lines == [
        "✔ tested/a: 1 passed on run " + good.lines[0].split()[-1], "· tested/plain: has no tests",
        "1 test: 1 passed, 0 failed",
    ]  # fmt: skip
    source.write_text(TESTED.format(more=FAILS))
    failed, as_json = headrace.each("headrace test . tested", "headrace test . tested --json", code=1)
    assert failed.lines[0].startswith("✘ tested/a: 1 failed, 1 passed on run ")
    assert "it is not two" in failed.lines[1]
    assert [(report["block"], report["passed"], report["failed"]) for report in as_json.json] == [
        ("a", 1, 1), ("plain", 0, 0),
    ]  # fmt: skip
    source.write_text(TESTED.format(more=RAISES))
    raised = headrace("test", ".", "tested", code=1)
    assert "its tests cannot run on its output of run" in raised.lines[0]
    assert f'File "{source}", line 11, in raises' in raised.out
