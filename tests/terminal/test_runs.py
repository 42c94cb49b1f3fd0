"""Runs in little room: no line wider than the terminal, what matters stays; and the lines for those without one."""

from __future__ import annotations

import io
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from headrace.engine.views import BlockRunView, RunSummary, RunView
from headrace.terminal.runs import RunTree, new_lines, run_error, runs_table
from rich.console import Console

AT = datetime(2021, 1, 1, tzinfo=UTC)
FAILURE = {"kind": "raised", "type": "ValueError", "message": "no", "text": "Traceback …\nValueError: no\n"}


def block(uuid: str, status: str, *upstream: str, **facts) -> BlockRunView:
    finished = None if status in ("initial", "queued", "running") else AT + timedelta(seconds=2)
    view = BlockRunView(uuid, "custom", upstream, status, 1, AT, AT, finished, None, None, None, 0)
    return replace(view, **facts)


def run(status: str, *blocks: BlockRunView, **facts) -> RunView:
    view = RunView(7, "flour", status, AT, AT, AT + timedelta(seconds=3), None, None, {}, blocks, 0, "shop")
    ended = status in ("completed", "failed", "cancelled")
    return replace(view, **{"finished_at": view.finished_at if ended else None, **facts})


def shown(renderable, width: int = 80) -> list[str]:
    console = Console(file=io.StringIO(), width=width, legacy_windows=False)
    console.print(renderable)
    return console.file.getvalue().splitlines()


WIDE = run(
    "running",
    block("a_block_with_a_name_that_is_rather_long", "completed", rows=1_234_567),
    block("b", "running", "a_block_with_a_name_that_is_rather_long", reason="waiting for something " * 9),
    block("漢字の名前", "upstream_failed", "b", attempt=3),
    reason="waits for another reason that nobody has room for",
)


@pytest.mark.parametrize("width", [10, 20, 40, 63, 64, 80, 200])
def test_no_line_is_wider_than_the_terminal(width):
    console = Console(width=width)
    lines = list(RunTree(WIDE, note="cancelling…").__rich_console__(console, console.options))
    assert len(lines) == 5
    assert max(line.cell_len for line in lines[:-1]) <= max(width, 17)


def test_names_outlast_remarks_and_words_outlast_neither():
    wide, narrow = shown(RunTree(WIDE), 80), shown(RunTree(WIDE), 40)
    assert "running" in wide[2]
    assert "running" not in narrow[2]
    assert all("●" in lines[2] for lines in (wide, narrow))
    assert "1,234,567 rows" in shown(RunTree(WIDE), 120)[1]


def test_in_little_room_what_goes_on_or_failed_stays_and_the_others_are_counted():
    blocks = [block(f"b{n}", "completed") for n in range(50)]
    blocks[20], blocks[40] = block("bad", "failed"), block("busy", "running")
    lines = shown(RunTree(run("running", *blocks), most=8))
    assert len(lines) == 6
    assert any("bad" in line for line in lines)
    assert any("busy" in line for line in lines)
    assert lines[-1] == "… and 46 completed"
    assert len(shown(RunTree(run("running", *blocks)))) == 51


def test_a_time_in_a_reason_is_told_in_the_readers_zone(monkeypatch):
    reason = "attempt 1 failed; retry 1 of 2 at 2021-01-01T10:00:00+00:00"
    view = run("running", block("a", "queued", reason=reason))
    local = datetime(2021, 1, 1, 10, tzinfo=UTC).astimezone().strftime("%H:%M:%S")
    assert shown(RunTree(view))[1].endswith(f"retry 1 of 2 at {local}")


def test_lines_tell_of_each_status_once_for_each_attempt():
    seen: set[tuple[str, int, str]] = set()
    assert new_lines(seen, run("initial", block("a", "initial"))) == ["run 7 of flour"]
    running = run("running", block("a", "running"), block("b", "initial", reason="waiting for a"))
    assert new_lines(seen, running) == ["run 7 of flour: running", "a: running"]
    assert new_lines(seen, running) == []
    looking = run("running", block("a", "queued", reason="the sensor has seen nothing yet"))
    assert new_lines(seen, looking) == ["a: queued (the sensor has seen nothing yet)"]
    assert new_lines(seen, running) == new_lines(seen, looking) == []
    free = run("running", block("a", "queued", reason="waiting for a free worker", attempt=2))
    assert new_lines(seen, free) == []
    done = run("completed", block("a", "completed", attempt=2, rows=1))
    assert new_lines(seen, done) == ["a: completed (2.0 s, 1 row · attempt 2)", "run 7 of flour: completed (3.0 s)"]


def test_why_a_run_ended_badly_is_told_by_its_blocks_or_by_its_reason():
    bad = run("failed", block("a", "failed", error=FAILURE, attempt=2), reason="block a failed: no")
    assert shown(run_error(bad, is_plain=True)) == ["a failed at attempt 2:", "Traceback …", "ValueError: no"]
    assert shown(run_error(bad, is_plain=False))[1:] == ["Traceback …", "ValueError: no"]
    tests = {"kind": "test", "type": "BlockTestsFailed", "message": "1 of 2 tests passed.", "text": "Traceback …"}
    tested = run("failed", block("a", "failed", error=tests))
    assert shown(run_error(tested, is_plain=True)) == ["a failed:", "1 of 2 tests passed."]
    late = run("failed", block("a", "cancelled"), reason="passed its time limit of 3 s")
    assert shown(run_error(late, is_plain=True)) == ["passed its time limit of 3 s"]
    assert run_error(run("completed", block("a", "completed")), is_plain=True) is None
    allowed = run("completed", block("a", "failed", error=FAILURE), reason="block a was allowed to fail: no")
    assert shown(run_error(allowed, is_plain=True))[0] == "a failed:"


@pytest.mark.parametrize(("width", "columns"), [(80, 6), (40, 4)])
def test_a_list_of_runs_has_the_columns_that_there_is_room_for(width, columns):
    waits = RunSummary(7, "flour [b]", "initial", AT, None, None, "waiting for a service to claim it", 0, 3, "shop")
    header, line = shown(runs_table([waits], width), width)
    assert len(header.split()) == columns
    assert "flour [b]" in line
    assert "initial (waits)" in line
