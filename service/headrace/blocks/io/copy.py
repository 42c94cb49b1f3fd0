"""Frames into Postgres by binary COPY, one batch at a time: the whole is never held twice."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import asyncpg
import pandas as pd
import pyarrow as pa
from pgpq import ArrowToPostgresBinaryEncoder

from headrace.blocks.io.base import ConnectorFault
from headrace.blocks.io.columns import JSONB, Column, UnstorableValue, arrow_of, kind_of, plain
from headrace.blocks.io.names import LONGEST, clean_name

ROWS = 16_384
_WHERE = re.compile(r"^COPY .*, line (\d+)(?:, column ([^:\n]*))?", re.MULTILINE)


def columns_of(
    frame: pd.DataFrame, *, clean: bool, case_sensitive: bool, allow_reserved: bool, overwrite: Mapping[str, str]
) -> list[Column]:
    """The columns of a frame with the names and types they get. Raises on two columns of one name."""
    columns: list[Column] = []
    labels: dict[str, Any] = {}
    for position, label in enumerate(frame.columns):
        name = _name(label, clean=clean, case_sensitive=case_sensitive, allow_reserved=allow_reserved)
        if name in labels:
            raise ConnectorFault(
                f"The columns {labels[name]!r} and {label!r} would both be named {name}.",
                remedy="Rename one of them before the export.",
            )
        labels[name] = label
        columns.append(Column(label, name, _kind(plain(frame.iloc[:, position]), label, name, overwrite), position))
    return columns


def _kind(series: pd.Series[Any], label: Any, name: str, overwrite: Mapping[str, str]) -> Any:
    wanted = (overwrite.get(str(label)) or overwrite.get(name) or "").lower()
    # An object column of many types is refused, unless its author says that it is JSON.
    return JSONB if wanted in ("json", "jsonb") and series.dtype == object else kind_of(series, str(label))


def _name(label: Any, *, clean: bool, case_sensitive: bool, allow_reserved: bool) -> str:
    text = "_".join(map(str, label)) if isinstance(label, tuple) else str(label)
    if clean:
        text = clean_name(text, case_sensitive=case_sensitive, allow_reserved=allow_reserved)
    if not text or "\0" in text or len(text.encode()) > LONGEST:
        raise ConnectorFault(
            f"Column {label!r} cannot be the name of a column in Postgres: it has to have 1 to {LONGEST} bytes.",
            remedy="Rename it before the export.",
        )
    return text


async def copy_frame(
    connection: Any,
    frame: pd.DataFrame,
    columns: Sequence[Column],
    *,
    table: str,
    schema: str | None,
    freeze: bool = False,
) -> int:
    """Copy all rows into a table that has these columns; the number of rows. Raises UnstorableValue.

    `freeze` lets transactions that began earlier see the rows too: for a table that this transaction made.
    """
    if not columns or frame.empty:
        return 0
    try:
        await connection.copy_to_table(
            table,
            schema_name=schema,
            columns=[column.name for column in columns],
            source=_encoded(frame, columns),
            format="binary",
            freeze=freeze or None,
        )
    except asyncpg.PostgresError as error:
        raise _told(error, frame, columns) from error
    return len(frame)


async def _encoded(frame: pd.DataFrame, columns: Sequence[Column]) -> AsyncIterator[bytes]:
    schema = pa.schema([(f"c{place}", column.kind.arrow) for place, column in enumerate(columns)])
    encoder = ArrowToPostgresBinaryEncoder(schema)
    yield encoder.write_header()
    for start in range(0, len(frame), ROWS):
        part = frame.iloc[start : start + ROWS]
        arrays = [arrow_of(plain(part.iloc[:, column.position]), column, start) for column in columns]
        yield encoder.write_batch(pa.RecordBatch.from_arrays(arrays, schema=schema))
    yield encoder.finish()


def _told(error: asyncpg.PostgresError, frame: pd.DataFrame, columns: Sequence[Column]) -> Exception:
    """The error as of a value in the frame, where Postgres tells its line and column."""
    found = _WHERE.search(getattr(error, "context", None) or "")
    if found is None:
        return ConnectorFault(f"Postgres refused the rows: {error}.")
    position = int(found[1]) - 1
    labels = {column.name: str(column.label) for column in columns}
    name = found[2] or ""
    row = frame.index[position] if 0 <= position < len(frame) else position
    return UnstorableValue(labels.get(name, name or "(unknown)"), row, position, str(error).rstrip("."))
