"""The commands that look at runs, on a project with a run that completed, one that failed and one that waits."""

from __future__ import annotations

import io
import json
import re
import subprocess
from contextlib import ExitStack

import pandas as pd
import pytest
from headrace.service import open_headrace

from tests.support.postgres import in_a_loop_of_its_own
from tests.support.projects import write_pipeline
from tests.support.shell import Shell

LOAD = """import logging, sys
import pandas as pd

@data_loader
def load(**kwargs):
    print("\x1b[31mred\x1b[0m and [bold]brackets[/]")
    print("a warning", file=sys.stderr)
    logging.getLogger("mill").error("logged")
    columns = {f"column_{n}": ["x" * 30] * 30 for n in range(8)}
    return pd.DataFrame({"number": range(30), "when": pd.Timestamp("2021-01-01"), "empty": None, **columns})
"""
GRIND = "@transformer\ndef grind(frame, **kwargs):\n    return [frame.head(2), {'fine': True}]\n"
BAD = "@custom\ndef break_it(*args):\n    print('dividing')\n    return 1 / 0\n"
COMPLETED, FAILED = "1", "2"


@pytest.fixture(scope="module", autouse=True)
def runs(headrace: Shell) -> None:
    """Run 1 of `flour` completes, run 2 of `bad` fails, run 3 of `flour` is never claimed."""
    types = {"load": "data_loader", "grind": "transformer"}
    write_pipeline(
        headrace.project, "flour", {"load": (), "grind": ("load",)}, {"load": LOAD, "grind": GRIND}, types=types
    )
    write_pipeline(headrace.project, "bad", {"a": (), "b": ("a",), "c": ("b",)}, {"b": BAD})

    async def make() -> None:
        async with open_headrace(headrace.project, environ=headrace.environ) as driving:
            await driving.finished(await driving.create_run("flour", variables={"stones": 2}))
            await driving.finished(await driving.create_run("bad"))
        async with open_headrace(headrace.project, environ=headrace.environ, drive=False) as looking:
            await looking.create_run("flour")

    in_a_loop_of_its_own(make())


def test_runs_are_listed_newest_first(headrace):
    lines = headrace("runs", code=0).out.splitlines()
    assert lines[0].split() == ["run", "pipeline", "status", "took", "blocks", "created"]
    assert [line.split()[:4] for line in lines[1:]] == [
        ["3", "flour", "·", "initial"], ["2", "bad", "✘", "failed"], ["1", "flour", "✔", "completed"],
    ]  # fmt: skip


def test_a_list_of_runs_is_narrowed_and_says_how_to_go_on(headrace):
    failed, page, older, misspelt = headrace.each(
        "headrace runs --status failed --json", "headrace runs --limit 1", "headrace runs --before 3 --json",
        "headrace runs --pipeline flower", code=0,
    )  # fmt: skip
    assert [run["id"] for run in failed.json] == [2]
    assert "headrace runs --before 3" in page.err
    assert [run["id"] for run in older.json] == [2, 1]
    assert "Did you mean flour?" in misspelt.out


def test_json_of_runs_has_at_least_these_keys(headrace):
    """Programs read them: a key may be added, none may go."""
    listed, shown = (ended.json for ended in headrace.each("headrace runs --json", "headrace show 2 --json", code=0))
    assert listed[0].keys() >= {
        "id", "pipeline", "status", "created_at", "started_at", "finished_at", "reason", "blocks_done", "blocks_total",
    }  # fmt: skip
    assert shown.keys() >= {
        "id", "pipeline", "status", "created_at", "started_at", "finished_at", "reason", "error", "variables", "blocks",
    }  # fmt: skip
    assert shown["blocks"][0].keys() >= {
        "uuid", "type", "upstream", "status", "attempt", "queued_at", "started_at", "finished_at", "reason", "error",
        "rows", "outputs",
    }  # fmt: skip
    assert shown["error"].keys() >= {"kind", "type", "message", "text", "traceback"}
    assert [block["status"] for block in shown["blocks"]] == ["completed", "failed", "upstream_failed"]
    assert pd.Timestamp(shown["finished_at"]).tz is not None


def test_a_failed_run_is_shown_with_the_users_own_traceback(headrace):
    shown = headrace("show", FAILED, code=0).out
    assert f'File "{headrace.project}/pipelines/bad/b.py", line 4, in break_it' in shown
    assert "ZeroDivisionError: division by zero" in shown
    assert "headrace/worker" not in shown


def test_a_run_that_waits_says_why(headrace):
    shown, why, ended = headrace.each("headrace show 3", "headrace why 3 --json", "headrace why 1", code=0)
    assert "waiting for a service to claim it" in shown.out
    assert why.json == ["waiting for a service to claim it"]
    assert ended.out == "Run 1 is completed and waits for nothing.\n"


def test_every_command_that_a_run_points_to_can_be_copied(headrace):
    shown = headrace("show", FAILED, code=0).out.partition("Where to look\n")[2].splitlines()
    pointers = {line.split()[0]: line[line.index("headrace ") :] for line in shown}
    assert pointers["try"] == "headrace retry 2 --latest"
    output, logs = headrace.each(pointers["output"], pointers["logs"], code=0)
    assert output.out.startswith("a of run 2: int")
    assert logs.out.endswith("b dividing\n")


def test_the_project_is_found_from_the_folders_in_it_and_named_from_elsewhere(headrace):
    inside, outside, implied, lost, misspelt = headrace.each(
        "cd pipelines/flour && headrace show 1",
        "cd .. && headrace show 1 -p mill",
        f"cd / && HEADRACE_PROJECT={headrace.project} headrace show 1",
        "cd / && headrace show 1",
        "cd .. && headrace show 99 -p mill",
    )
    assert inside.lines[-1] == implied.lines[-1] == "  logs    headrace logs 1"
    assert outside.lines[-1] == "  logs    headrace logs 1 -p mill"
    assert (lost.code, lost.err.splitlines()[0]) == (
        2, "error[no-project]: / is not a project: it has no metadata.yaml.",
    )  # fmt: skip
    assert "`headrace runs -p mill`" in misspelt.err


MISSING = {
    "show 99": "error[unknown-run]: There is no run 99.\n→ `headrace runs`",
    "logs 1 laod": "error[unknown-block]: Run 1 of flour has no block laod.\n→ Did you mean load?",
    "output 1 grnd": "Did you mean grind? Its blocks: load, grind.",
    "output 1 grind --index 2": "numbered from 0 to 1",
    "output 2 b": "Block b of run 2 has no output: it is failed.\n→ See why: `headrace show 2`.",
    f"show {2**70}": "is no run's number",
    "rnus": "No such command 'rnus'. Did you mean 'runs'",
}


def test_what_is_not_there_is_told_by_its_name_with_what_is_near(headrace):
    commands = [f"headrace {words}" for words in MISSING]
    for told, ended in zip(MISSING.values(), headrace.each(*commands, code=2), strict=True):
        assert told in ended.err
        assert ended.out == ""


def test_logs_hold_each_line_as_it_was_printed(headrace):
    logs, of_block, as_json = headrace.each(
        "headrace logs 1", "headrace logs 1 grind", "headrace logs 1 load --json", code=0
    )
    assert [line.split(" ", 2)[2] for line in logs.lines] == [
        "load \x1b[31mred\x1b[0m and [bold]brackets[/]", "load a warning", "load logged",
    ]  # fmt: skip
    assert of_block.err == "Run 1 has no log lines of grind.\n"
    lines = [json.loads(line) for line in as_json.lines]
    assert [(line["stream"], line["seq"]) for line in lines] == [("stdout", 1), ("stderr", 2), ("log", 3)]
    assert lines[0].keys() >= {"block", "attempt", "seq", "at", "stream", "level", "text"}


def test_an_output_is_shown_with_types_and_how_much_more_there_is(headrace):
    table, other = headrace.each("headrace output 1 load", "headrace output 1 grind --index 1", code=0)
    assert table.out.startswith("load of run 1: 30 rows, 11 columns")
    assert "datetime64" in table.out
    assert "null" in table.out
    assert "… and 10 more rows: --format csv writes all of them" in table.out
    assert "more column" not in table.out, "without a terminal every column is shown"
    assert other.out.startswith("grind (output 1 of 0 to 1) of run 1: dict")
    assert "{'fine': True}" in other.out


def test_an_output_is_written_whole_in_other_formats(headrace):
    csv, parquet, other, wrong = headrace.each(
        "headrace output 1 load --format csv", "headrace output 1 load --format parquet", "headrace output 1 grind --index 1 --format json",
        "headrace output 1 grind --index 1 --format csv",
    )  # fmt: skip
    assert pd.read_csv(io.StringIO(csv.out)).number.tolist() == list(range(30))
    frame = pd.read_parquet(io.BytesIO(parquet.out.encode("utf-8", "surrogateescape")))
    assert frame.shape == (30, 11)
    assert str(frame.when.dtype).startswith("datetime64")
    assert other.json == {"fine": True}
    assert wrong.code == 2
    assert wrong.err.startswith("error[not-tabular]: A dict has no csv form.\n→ ")


def test_bytes_are_not_written_into_a_terminal(headrace):
    with headrace.terminal("output", COMPLETED, "load", "--format", "parquet") as terminal:
        assert terminal.ended() == 2
    assert "error[bytes-for-terminal]" in terminal.text
    assert "PAR1" not in terminal.raw


def test_a_narrow_terminal_gets_no_line_that_is_wider(headrace):
    commands = (("runs",), ("show", FAILED), ("output", COMPLETED, "load"))
    with ExitStack() as stack:
        terminals = [stack.enter_context(headrace.terminal(*words, columns=40)) for words in commands]
        for terminal in terminals:
            assert terminal.ended() == 0
            lines = terminal.text.partition("Where to look")[0].splitlines()
            tables = [line for line in lines if not line.startswith(("… and", "  File", "load of"))]
            assert len(tables) > 2
            assert max(map(len, tables)) <= 40


def test_a_frame_in_a_terminal_shows_the_columns_that_fit_and_names_the_others(headrace):
    with headrace.terminal("output", COMPLETED, "load", columns=80) as terminal:
        assert terminal.ended() == 0
    assert "… and 7 more columns: column_1, column_2" in terminal.text
    assert re.search(r"^ *29 ", terminal.text, re.MULTILINE) is None


def test_colours_are_for_terminals_and_not_for_those_who_want_none(headrace):
    with headrace.terminal("runs") as coloured, headrace.terminal("runs", NO_COLOR="1") as plain:
        assert coloured.ended() == plain.ended() == 0
    assert coloured.colours
    assert not plain.colours
    assert plain.text == coloured.text
    assert "\x1b" not in headrace("runs", code=0).out


def test_a_reader_that_has_seen_enough_ends_nothing_with_an_error(headrace):
    commands = ("runs", "runs --json", "show 2", "logs 1", "output 1 load", "output 1 load --format csv", "db")
    for ended in headrace.each(*(f"(headrace {words}; echo $? >&2) | true" for words in commands)):
        assert ended.err == "0\n"


def test_a_command_without_standard_output_works(headrace):
    closed, full = headrace.each("headrace runs >&-", "headrace runs >/dev/full")
    assert (closed.code, closed.err, full.code) == (0, "", 1)
    assert "error[system]" in full.err
    assert "No space left" in full.err


def test_text_that_an_encoding_lacks_is_replaced(headrace):
    listed = subprocess.run(
        ["headrace", "runs"], cwd=headrace.project, env={**headrace.environ, "PYTHONIOENCODING": "ascii"},
        capture_output=True, timeout=60, check=True,
    )  # fmt: skip
    assert b"? completed" in listed.stdout
