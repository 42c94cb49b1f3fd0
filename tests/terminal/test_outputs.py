"""Stored outputs in a terminal: as many columns as fit, cells on one line, nothing that steers the terminal."""

from __future__ import annotations

import io
from typing import Any

import pytest
from headrace.engine.views import OutputView
from headrace.terminal.outputs import output_table
from rich.console import Console


def shown(preview: Any, width: int | None = 80, **facts: int) -> list[str]:
    view = OutputView(3, "a", facts.get("index", 0), facts.get("outputs", 1), "arrow", 2048, None, preview)
    console = Console(file=io.StringIO(), width=width or 1000, legacy_windows=False)
    console.print(output_table(view, width))
    return console.file.getvalue().splitlines()


def frame(columns: int, rows: int, cell: Any = "x", **facts: Any) -> dict[str, Any]:
    described = [{"name": f"column_{n}", "dtype": "str"} for n in range(columns)]
    return {
        "kind": "table", "columns": described, "column_count": columns, "rows": [[cell] * columns] * rows,
        "row_count": rows, **facts,
    }  # fmt: skip


@pytest.mark.parametrize("width", [20, 40, 80])
def test_columns_that_do_not_fit_are_named_and_not_squeezed(width):
    lines = shown(frame(12, 3), width)
    fits = (width + 2) // 10
    header = next(place for place, line in enumerate(lines) if line.startswith("column_0"))
    assert lines[header].split() == [f"column_{n}" for n in range(fits)]
    assert "".join(lines[header + 5 :]).startswith(f"… and {12 - fits} more columns:")
    assert max(map(len, lines)) <= width


def test_without_a_terminal_every_column_is_shown():
    assert len(shown(frame(60, 1), None)[1].split()) == 60


def test_a_long_cell_is_cut_and_stays_on_its_line():
    lines = shown(frame(2, 1, "long " * 50 + "\n\x1b[31m"), 100)
    assert len(lines) == 4
    assert "\x1b" not in "".join(lines)


def test_how_many_rows_and_outputs_there_are_is_told():
    lines = shown(frame(1, 30, row_count=12_345, column_count=1), outputs=2, index=1)
    assert lines[0] == "a (output 1 of 0 to 1) of run 3: 12,345 rows, 1 column, 2.05 kB"
    assert lines[-1] == "… and 12,325 more rows: --format csv writes all of them"


def test_another_value_is_shown_as_its_text():
    assert shown({"kind": "value", "type": "dict", "text": "{'a': [1]}"}) == ["a of run 3: dict, 2.05 kB", "{'a': [1]}"]
