"""Stored outputs as JSON values, for those who ask for a run's outcome and not for files."""

from __future__ import annotations

import json
from typing import Any

from headrace.engine.reading import output_parts
from headrace.store.database import Database
from headrace.store.outputs import list_outputs

MOST_BYTES = 1 << 20
"""A JSON value of more is shown as its preview."""


async def shown_values(database: Database, run: int, block: str) -> list[Any]:
    """A value for each of a block's outputs: JSON as it is, a table as its first rows, anything else as its text."""
    found = await list_outputs(database, run, block)
    return [await _value(database, run, block, output.position, output.codec, output.bytes) for output in found]


async def _value(database: Database, run: int, block: str, index: int, codec: str, size: int) -> Any:
    view, parts = await output_parts(database, run, block, index)
    if codec == "json" and size <= MOST_BYTES:
        return json.loads(b"".join([part async for part in parts]))
    preview = view.preview or {}
    if preview.get("kind") != "table":
        return preview.get("text")
    names = [column["name"] for column in preview["columns"]]
    return [dict(zip(names, row, strict=True)) for row in preview["rows"]]
