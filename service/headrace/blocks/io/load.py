"""Rows of a query as a frame whose columns keep the types that they have in Postgres.

smallint, integer and bigint stay integers (Int16, Int32 and Int64 where there is a NULL), boolean stays boolean,
timestamp is datetime64[us], timestamptz is the same in UTC, numeric is float64 (Decimal objects with `exact`; integers
where it has whole numbers only and float64 could change one), text, uuid and enums are str, json and jsonb are dicts
and lists, date and time are objects of datetime, interval is timedelta64[us], bytea is bytes. What a type cannot hold
is an error that names column and row: infinite times, years beyond 1 to 9999, spans of months.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd

from headrace.blocks.io.base import ConnectorFault
from headrace.blocks.io.times import first_out_of_range

BATCH = 20_000
_TIMES = frozenset({"date", "timestamp", "timestamptz", "interval"})
_REMEDY = "Load it as text (column::text in the query), or leave such rows out: WHERE isfinite(column)."
EXACT = 2**53
"""Below this float64 has every whole number."""


async def load_frame(connection: Any, query: str, limit: int, exact: bool) -> pd.DataFrame:
    """At most `limit` rows of a query, within the transaction that the caller holds."""
    statement = await connection.prepare(query)
    attributes = statement.get_attributes()
    values: list[list[Any]] = [[] for _ in attributes]
    cursor = await statement.cursor()
    left = limit
    while left > 0 and (rows := await _fetched(cursor, min(BATCH, left), attributes)):
        left -= len(rows)
        for place, column in enumerate(values):
            column.extend([row[place] for row in rows])
    # An open portal keeps its tables from being replaced until the transaction ends; asyncpg has no public way.
    await cursor._close_portal(None)
    for place, column in enumerate(values):
        if attributes[place].type.name in _TIMES:
            _refuse_out_of_range(column, attributes[place].name)
    series = [_series(column, attributes[place].type, exact) for place, column in enumerate(values)]
    return _frame(series, [attribute.name for attribute in attributes])


async def _fetched(cursor: Any, most: int, attributes: Sequence[Any]) -> Sequence[Any]:
    try:
        rows: Sequence[Any] = await cursor.fetch(most)
    except OverflowError as error:
        names = ", ".join(attribute.name for attribute in attributes if attribute.type.name in _TIMES)
        raise ConnectorFault(
            f"A value of {names} is beyond the years 1 to 9999, which Python's times cannot hold.", remedy=_REMEDY
        ) from error
    return rows


def _refuse_out_of_range(values: list[Any], name: str) -> None:
    found = first_out_of_range(values)
    if found is not None:
        row, told = found
        raise ConnectorFault(f"Column {name}, row {row + 1}: no type of pandas holds {told}.", remedy=_REMEDY)


def _frame(series: Sequence[Any], names: Sequence[str]) -> pd.DataFrame:
    frame = pd.DataFrame(dict(enumerate(series)))
    frame.columns = pd.Index(list(names), dtype=object if not names else None)
    return frame


def _series(values: list[Any], kind: Any, exact: bool) -> Any:
    if kind.kind == "array":
        return pd.Series(values, dtype=object)
    make = _MAKERS.get(kind.name, _others)
    return pd.Series(values, dtype=object) if exact and kind.name == "numeric" else make(values)


def _objects(values: list[Any]) -> Any:
    return pd.Series(values, dtype=object)


def _others(values: list[Any]) -> Any:
    """Types that have no entry of their own: text where all values are, as of enums."""
    are_texts = values and all(value is None or isinstance(value, str) for value in values)
    return _texts(values) if are_texts else _objects(values)


def _numerics(values: list[Any]) -> Any:
    floats = [None if value is None else float(value) for value in values]
    if any(value is not None and abs(value) >= EXACT for value in floats):
        present = [value for value in values if value is not None]
        if all(value.is_finite() and value == value.to_integral_value() for value in present):
            return _wide_integers([None if value is None else int(value) for value in values])
    return pd.Series(floats, dtype="float64")


def _wide_integers(values: list[int | None]) -> Any:
    present = [value for value in values if value is not None]
    letter = "I" if None in values else "i"
    if min(present) >= -(2**63) and max(present) < 2**63:
        return pd.Series(values, dtype=f"{letter}nt64")
    if min(present) >= 0 and max(present) < 2**64:
        return pd.Series(values, dtype="UInt64" if None in values else "uint64")
    return _objects(values)


def _integers(bits: int) -> Callable[[list[Any]], Any]:
    def make(values: list[Any]) -> Any:
        return pd.Series(values, dtype=f"Int{bits}" if None in values else f"int{bits}")

    return make


def _floats(kind: str) -> Callable[[list[Any]], Any]:
    return lambda values: pd.Series([None if v is None else float(v) for v in values], dtype=kind)


def _booleans(values: list[Any]) -> Any:
    return pd.Series(values, dtype="boolean" if None in values else "bool")


def _texts(values: list[Any]) -> Any:
    return pd.Series([None if value is None else str(value) for value in values], dtype="str")


def _times(values: list[Any]) -> Any:
    return pd.Series(values, dtype="datetime64[us]")


def _zoned_times(values: list[Any]) -> Any:
    return pd.Series(values, dtype="datetime64[us, UTC]")


def _spans(values: list[Any]) -> Any:
    return pd.Series(values, dtype="timedelta64[us]")


_MAKERS: dict[str, Callable[[list[Any]], Any]] = {
    "int2": _integers(16),
    "int4": _integers(32),
    "int8": _integers(64),
    "oid": _integers(64),
    "float4": _floats("float32"),
    "float8": _floats("float64"),
    "numeric": _numerics,
    "json": _objects,
    "jsonb": _objects,
    "bool": _booleans,
    "text": _texts,
    "varchar": _texts,
    "bpchar": _texts,
    "name": _texts,
    "uuid": _texts,
    "timestamp": _times,
    "timestamptz": _zoned_times,
    "interval": _spans,
}
"""Names of types in Postgres to what makes a column of their values."""
