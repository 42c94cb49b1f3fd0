"""Turns a frame into Arrow columns that Postgres can store without changing a value, or tells which value it cannot."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from headrace.domain.errors import HeadraceError

RESERVED = frozenset((
    "all", "analyse", "analyze", "and", "any", "array", "as", "asc", "asymmetric", "authorization", "binary",
    "both", "case", "cast", "check", "collate", "collation", "column", "concurrently", "constraint", "create",
    "cross", "current_catalog", "current_date", "current_role", "current_schema", "current_time",
    "current_timestamp", "current_user", "default", "deferrable", "desc", "distinct", "do", "else", "end",
    "except", "false", "fetch", "for", "foreign", "freeze", "from", "full", "grant", "group", "having", "ilike",
    "in", "initially", "inner", "intersect", "into", "is", "isnull", "join", "lateral", "leading", "left", "like",
    "limit", "localtime", "localtimestamp", "natural", "not", "notnull", "null", "offset", "on", "only", "or",
    "order", "outer", "overlaps", "placing", "primary", "references", "returning", "right", "select",
    "session_user", "similar", "some", "symmetric", "table", "tablesample", "then", "to", "trailing", "true",
    "type", "union", "unique", "user", "using", "variadic", "verbose", "when", "where", "window", "with",
))  # fmt: skip
"""Words that get a `_` before them as column names."""


class ValueNotStorable(HeadraceError):
    """A value of a frame cannot be stored in a table without changing it."""

    code = "value-not-storable"


class ColumnNamesClash(HeadraceError):
    """Two columns of a frame would have the same name in the table."""

    code = "column-names-clash"


def quoted(name: str) -> str:
    """An identifier as SQL wants it, whatever characters it has."""
    return '"' + name.replace('"', '""') + '"'


def column_names(names: Sequence[Any], *, clean: bool, keep_case: bool, allow_reserved: bool) -> list[str]:
    """The table's names for a frame's columns. Raises ColumnNamesClash."""
    made = [_clean(str(name), keep_case, allow_reserved) if clean else str(name) for name in names]
    for position, name in enumerate(made):
        if name in made[:position]:
            first = names[made.index(name)]
            raise ColumnNamesClash(
                f"Columns {first!r} and {names[position]!r} would both be named {name}.", remedy="Rename one of them."
            )
    return made


def _clean(name: str, keep_case: bool, allow_reserved: bool) -> str:
    cleaned = re.sub(r"\W+", "_", name.strip())
    cleaned = cleaned if keep_case else cleaned.lower()
    if cleaned[:1].isdigit():
        cleaned = f"letter_{cleaned}"
    return f"_{cleaned}" if cleaned.lower() in RESERVED and not allow_reserved else cleaned


def storable_table(frame: pd.DataFrame, names: Sequence[str]) -> tuple[pa.Table, dict[str, str]]:
    """The frame as an Arrow table and the SQL type of each column. Raises ValueNotStorable with column and row."""
    columns, types = [], {}
    for position, name in enumerate(names):
        array, types[name] = _column(frame.iloc[:, position], name)
        columns.append(array)
    return pa.table(columns, names=list(names)), types


def _column(series: pd.Series[Any], name: str) -> tuple[Any, str]:
    if isinstance(series.dtype, pd.CategoricalDtype):
        series = series.astype(series.cat.categories.dtype)
    if series.dtype == object:
        return _object_column(series, name)
    try:
        array = pa.array(series, from_pandas=True)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError) as error:
        raise ValueNotStorable(f"Column {name}: {error}", remedy="Convert the column before exporting it.") from error
    return _typed(array, name, series)


def _typed(array: Any, name: str, series: pd.Series[Any]) -> tuple[Any, str]:
    kind = array.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return _text(array, name, series), "text"
    if pa.types.is_timestamp(kind):
        return _microseconds(array, name, series), "timestamptz" if kind.tz else "timestamp"
    if pa.types.is_duration(kind):
        return array.cast(pa.duration("us")), "interval"
    if pa.types.is_uint64(kind):
        return _numeric_text(array), "numeric"
    if pa.types.is_unsigned_integer(kind):
        wider = pa.int32() if kind.bit_width < 32 else pa.int64()
        return array.cast(wider), "integer" if kind.bit_width < 32 else "bigint"
    for test, cast, sql in _PLAIN:
        if test(kind):
            return (array if cast is None else array.cast(cast)), sql
    return _json(array.to_pylist(), name, series)


_PLAIN: list[tuple[Any, Any, str]] = [
    (pa.types.is_boolean, None, "boolean"),
    (pa.types.is_int8, pa.int16(), "smallint"),
    (pa.types.is_int16, None, "smallint"),
    (pa.types.is_int32, None, "integer"),
    (pa.types.is_int64, None, "bigint"),
    (pa.types.is_float16, pa.float32(), "real"),
    (pa.types.is_float32, None, "real"),
    (pa.types.is_float64, None, "double precision"),
    (pa.types.is_date32, None, "date"),
    (pa.types.is_binary, None, "bytea"),
    (pa.types.is_null, pa.string(), "text"),
]


def _text(array: Any, name: str, series: pd.Series[Any]) -> Any:
    array = array.cast(pa.large_string()).cast(pa.string()) if array.nbytes < 2**31 else array
    found = pc.index(pc.fill_null(pc.match_substring(array, "\0"), False), True).as_py()
    if found >= 0:
        raise ValueNotStorable(
            f"Column {name}, row {series.index[found]!r}: the text holds a NUL character, which Postgres cannot store.",
            remedy="Remove it, for instance with .str.replace.",
        )
    return array


def _microseconds(array: Any, name: str, series: pd.Series[Any]) -> Any:
    target = pa.timestamp("us", tz=array.type.tz)
    try:
        return array.cast(target)
    except pa.ArrowInvalid as error:
        nanoseconds = pc.fill_null(pc.nanosecond(array), 0)
        row = pc.index(pc.not_equal(nanoseconds, 0), True).as_py()
        raise ValueNotStorable(
            f"Column {name}, row {series.index[max(row, 0)]!r}: {series.iloc[max(row, 0)]} is finer than the "
            "microseconds that Postgres keeps.",
            remedy="Round it, for instance with .dt.round('us').",
        ) from error


def _numeric_text(array: Any) -> Any:
    return array.cast(pa.string())


def _object_column(series: pd.Series[Any], name: str) -> tuple[Any, str]:
    """Object columns by what they hold; a mix of kinds is refused, never guessed at."""
    values = series.tolist()
    kinds = {type(value) for value in values if value is not None and not _missing(value)}
    if kinds <= {dict, list}:
        return _json(values, name, series) if kinds else (pa.nulls(len(values), pa.string()), "text")
    if len(kinds) > 1:
        first = next(type(value) for value in values if not _missing(value))
        row = next(n for n, value in enumerate(values) if not _missing(value) and type(value) is not first)
        raise ValueNotStorable(
            f"Column {name}, row {series.index[row]!r}: the column holds {first.__name__} and then "
            f"{type(values[row]).__name__} ({values[row]!r}).",
            remedy="Convert the column to one type before exporting it.",
        )
    (kind,) = kinds
    given = [None if _missing(value) else value for value in values]
    if kind.__name__ in ("Decimal", "UUID"):
        return pa.array([None if v is None else str(v) for v in given], pa.string()), (
            "numeric" if kind.__name__ == "Decimal" else "uuid"
        )
    try:
        array = pa.array(given)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError) as error:
        raise ValueNotStorable(f"Column {name}: {error}", remedy="Convert the column before exporting it.") from error
    return _typed(array, name, series)


def _missing(value: Any) -> bool:
    return value is None or value is pd.NA or value is pd.NaT or (isinstance(value, float) and value != value)


def _json(values: list[Any], name: str, series: pd.Series[Any]) -> tuple[Any, str]:
    texts: list[str | None] = []
    for row, value in enumerate(values):
        try:
            text = None if _missing(value) else json.dumps(value, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise ValueNotStorable(
                f"Column {name}, row {series.index[row]!r}: {error}.", remedy="Make it plain JSON values."
            ) from error
        if text is not None and "\\u0000" in text:
            raise ValueNotStorable(
                f"Column {name}, row {series.index[row]!r}: the value holds a NUL character.", remedy="Remove it."
            )
        texts.append(text)
    return pa.array(texts, pa.string()), "jsonb"


BY_TEXT: Mapping[str, str] = {"numeric": "numeric", "uuid": "uuid", "jsonb": "jsonb"}
"""SQL types that travel as text and are cast on arrival."""
