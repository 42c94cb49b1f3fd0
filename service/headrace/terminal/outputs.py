"""Stored outputs: the first rows for people, the whole in another format through a process that may unpickle."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from headrace.engine.views import OutputView
from headrace.engine.worker_environment import worker_environ
from headrace.project.reading import Project
from headrace.terminal.errors import ExitCode
from headrace.terminal.forms import OutputForm
from headrace.terminal.looks import counted, size

SHOWN_ROWS = 20
GAP = 2
WIDEST = 40
"""Characters of a cell that are shown in a terminal."""


async def write_output(view: OutputView, parts: AsyncIterator[bytes], form: OutputForm, project: Project) -> ExitCode:
    """Write an output to standard output through a program of its own with a worker's environment: it may unpickle."""
    with tempfile.TemporaryDirectory(prefix="headrace-") as folder:
        path = Path(folder) / "output"
        with path.open("wb") as file:
            async for part in parts:
                file.write(part)
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "headrace.worker.render", "--codec", view.codec, "--format", form,
            "--project", str(project.root), str(path), env=worker_environ(project.environ),
        )  # fmt: skip
        return ExitCode.COMPLETED if await process.wait() == 0 else ExitCode.INVALID


def output_table(view: OutputView, width: int | None) -> RenderableType:
    """The first rows of a frame, as many columns as fit into `width` (None for all), or the text of another value."""
    preview = view.preview or {}
    if preview.get("kind") != "table":
        head = f"{preview.get('type', view.codec)}, {size(view.bytes)}"
        return Group(_head(view, head), Text.from_ansi(str(preview.get("text", ""))))
    rows = preview["rows"][:SHOWN_ROWS]
    columns = [_Column(column, [row[place] for row in rows]) for place, column in enumerate(preview["columns"])]
    fitting = columns if width is None else _fitting(columns, width)
    table = Table(box=None, header_style="bold", padding=(0, GAP, 0, 0), pad_edge=False)
    for column in fitting:
        table.add_column(column.title, justify=column.justify, no_wrap=True, max_width=width and WIDEST)  # type: ignore[arg-type]
    for cells in zip(*(column.cells for column in fitting), strict=True):
        table.add_row(*cells)
    total = int(preview.get("column_count", len(columns)))
    head = f"{counted(preview['row_count'], 'row')}, {counted(total, 'column')}, {size(view.bytes)}"
    return Group(_head(view, head), table, *_left_out(preview, len(rows), columns[len(fitting) :]))


def _head(view: OutputView, told: str) -> Text:
    which = view.block if view.outputs == 1 else f"{view.block} (output {view.index} of 0 to {view.outputs - 1})"
    return Text.assemble((which, "bold"), (f" of run {view.run}: {told}", "dim"))


class _Column:
    """One column with the cells that are shown."""

    def __init__(self, described: Mapping[str, Any], values: Sequence[Any]) -> None:
        kind = str(described["dtype"])
        self.name = str(described["name"])
        self.title = Text.assemble(self.name, "\n", (kind, "dim"))
        self.justify = "right" if kind.lower().startswith(("int", "uint", "float", "double", "decimal")) else "left"
        self.cells = [Text("null", "dim") if value is None else Text(_one_line(value)) for value in values]
        self.width = min(max(len(self.name), len(kind), *(cell.cell_len for cell in self.cells), 1), WIDEST)


def _one_line(value: Any) -> str:
    return str(value).replace("\n", "⏎").replace("\x1b", "␛")


def _fitting(columns: Sequence[_Column], width: int) -> Sequence[_Column]:
    """The first columns that fit side by side, one at least."""
    taken = 0
    for place, column in enumerate(columns):
        taken += column.width + GAP
        if taken - GAP > width and place:
            return columns[:place]
    return columns


def _left_out(preview: Mapping[str, Any], shown: int, columns: Sequence[_Column]) -> list[Text]:
    lines = []
    if columns:
        lines.append(f"… and {counted(len(columns), 'more column')}: {', '.join(column.name for column in columns)}")
    if (rest := preview["row_count"] - shown) > 0:
        lines.append(f"… and {counted(rest, 'more row')}: --format csv writes all of them")
    return [Text(line, "dim") for line in lines]
