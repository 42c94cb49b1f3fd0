"""Views as JSON for programs, and outputs as tables for people."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import datetime
from typing import Any

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from headrace.engine.views import OutputView
from headrace.terminal.looks import counted

SHOWN_ROWS = 20


def as_json(value: Any) -> str:
    """A view, or a list of views, as JSON with times in ISO 8601."""
    plain = [asdict(item) for item in value] if isinstance(value, list) else asdict(value)
    return json.dumps(plain, indent=2, default=_time)


def _time(value: Any) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} has no place in a view")


def output_preview(view: OutputView) -> RenderableType:
    """The first rows of a frame, or the text of another value."""
    preview = view.preview or {}
    head = Text(f"{view.block}[{view.index}] of run {view.run}: {view.codec}, {counted(view.bytes, 'byte')}", "dim")
    if preview.get("kind") != "table":
        return Group(head, Text(str(preview.get("text", ""))))
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in preview["columns"]:
        table.add_column(f"{escape(str(column['name']))}\n[dim]{escape(str(column['dtype']))}[/]")
    for row in preview["rows"][:SHOWN_ROWS]:
        table.add_row(*("[dim]null[/]" if cell is None else escape(str(cell)) for cell in row))
    rest = preview["row_count"] - min(len(preview["rows"]), SHOWN_ROWS)
    return Group(head, table, Text(f"… and {counted(rest, 'more row')}" if rest > 0 else "", "dim"))
