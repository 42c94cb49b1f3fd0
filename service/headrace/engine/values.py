"""Stored outputs as JSON values, for those who ask for a run's outcome and not for files."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from headrace.store.database import Database
from headrace.store.outputs import ShownOutput, blob_parts, outputs_shown

MOST_BYTES = 1 << 20
"""A JSON value of more is shown as its preview."""


async def shown_values(database: Database, run: int, blocks: Sequence[str]) -> dict[str, list[Any]]:
    """By block, a value for each output: JSON as it is, a table as its first rows, anything else as its text."""
    shown: dict[str, list[Any]] = {}
    for output in await outputs_shown(database, run, blocks, MOST_BYTES) if blocks else ():
        shown.setdefault(output.block, []).append(await _value(database, output))
    return shown


async def _value(database: Database, output: ShownOutput) -> Any:
    if output.blob is not None:
        return json.loads(b"".join([part async for part in blob_parts(database, output.blob)]))
    if output.content is not None:
        return json.loads(output.content)
    preview = output.preview or {}
    if preview.get("kind") != "table":
        return preview.get("text")
    names = [column["name"] for column in preview["columns"]]
    return [dict(zip(names, row, strict=True)) for row in preview["rows"]]
