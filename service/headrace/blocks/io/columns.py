"""Columns of a frame as Postgres takes them: which type each gets, and its values as Arrow, batch by batch.

A value that Postgres cannot hold is an error that names column and row; nothing is changed in silence.
"""

from __future__ import annotations

import datetime
import decimal
import json
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from headrace.blocks.io.base import ConnectorFault
from headrace.blocks.io.numeric import numeric_bytes


class UnstorableValue(ConnectorFault):
    """A value of a frame that its column in Postgres cannot hold. `row` is the row's label in the frame's index."""

    code = "unstorable-value"

    def __init__(self, column: str, row: Any, position: int, why: str) -> None:
        super().__init__(
            f"Column {column}, row {row} (number {position} from 0): {why}.",
            remedy="Change the value, or convert the column to one type before the export.",
        )
        self.column = column
        self.row = row
        self.position = position


@dataclass(frozen=True)
class Kind:
    """How values of one sort travel: the type in Postgres, the type in Arrow, and how a cell becomes that."""

    sql: str
    arrow: Any
    cell: Callable[[Any], Any] | None = None
    """Turns one Python value into what `arrow` takes; None where Arrow converts whole columns itself."""


@dataclass(frozen=True)
class Column:
    """A column to be written: the label it has in the frame, the name it gets in the table, and its kind."""

    label: Any
    name: str
    kind: Kind
    position: int


RAW = pa.binary()
"""Bytes that go into the binary COPY as they are: how types travel that the encoder does not know."""

TEXT = Kind("text", pa.large_string())
PLAIN: dict[Any, Kind] = {
    pa.null(): TEXT,
    pa.bool_(): Kind("boolean", pa.bool_()),
    pa.int8(): Kind("smallint", pa.int16()),
    pa.uint8(): Kind("smallint", pa.int16()),
    pa.int16(): Kind("smallint", pa.int16()),
    pa.uint16(): Kind("integer", pa.int32()),
    pa.int32(): Kind("integer", pa.int32()),
    pa.uint32(): Kind("bigint", pa.int64()),
    pa.int64(): Kind("bigint", pa.int64()),
    pa.uint64(): Kind("numeric", pa.uint64()),
    pa.float16(): Kind("real", pa.float32()),
    pa.float32(): Kind("real", pa.float32()),
    pa.float64(): Kind("double precision", pa.float64()),
    pa.string(): Kind("text", pa.string()),
    pa.large_string(): TEXT,
    pa.string_view(): TEXT,
    pa.binary(): Kind("bytea", pa.binary()),
    pa.large_binary(): Kind("bytea", pa.large_binary()),
    pa.date32(): Kind("date", pa.date32()),
    pa.date64(): Kind("date", pa.date32()),
}
"""Arrow's types to ours, where nothing depends on the type's parameters."""

TIME = Kind("time", pa.time64("us"))
INTERVAL = Kind("interval", pa.duration("us"))


def _as_numeric(value: Any) -> bytes:
    return numeric_bytes(value if isinstance(value, decimal.Decimal) else decimal.Decimal(value))


def _as_jsonb(value: Any) -> bytes:
    return b"\x01" + json.dumps(value, allow_nan=False, default=_json_value, ensure_ascii=False).encode()


def _json_value(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, uuid.UUID):
        return str(value)
    raise TypeError(f"a {type(value).__name__} has no form in JSON")


def _as_list(value: Any) -> list[Any]:
    items: list[Any] = value.tolist() if isinstance(value, np.ndarray) else list(value)
    return items


def _as_moment(value: Any) -> Any:
    if getattr(value, "nanosecond", 0):
        raise ValueError("it is finer than a microsecond")
    return value


def _as_time(value: datetime.time) -> datetime.time:
    if value.tzinfo is not None:
        raise ValueError("a time of day with a time zone")
    return value


def _as_span(value: Any) -> Any:
    if getattr(value, "nanoseconds", 0):
        raise ValueError("it is finer than a microsecond")
    return value


NUMERIC = Kind("numeric", RAW, _as_numeric)
JSONB = Kind("jsonb", RAW, _as_jsonb)
UUID = Kind("uuid", RAW, lambda value: value.bytes)


def plain(series: pd.Series[Any]) -> pd.Series[Any]:
    """The same values without what Arrow does not know: sparse storage and a foreign order of bytes."""
    if isinstance(series.dtype, pd.SparseDtype):
        return pd.Series(series.array.to_dense(), index=series.index)
    if isinstance(series.dtype, np.dtype) and not series.dtype.isnative:
        return series.astype(series.dtype.newbyteorder("="))
    return series


def kind_of(series: pd.Series[Any], column: str) -> Kind:
    """The kind of a plain column's values, by its dtype; an object column's by its values. Raises UnstorableValue."""
    if series.dtype == object:
        return _kind_of_objects(series, column)
    try:
        found = _kind_of_arrow(pa.array(series.iloc[:0], from_pandas=True).type)
    except (pa.ArrowException, NotImplementedError, TypeError, ValueError):
        found = None
    if found is None:
        raise ConnectorFault(
            f"Column {column} has dtype {series.dtype}, for which Postgres has no type.",
            remedy="Convert it first, to text for one: df[column].astype(str).",
        )
    return found


def _kind_of_arrow(kind: Any) -> Kind | None:
    if pa.types.is_dictionary(kind):
        return _kind_of_arrow(kind.value_type)
    if pa.types.is_timestamp(kind):
        return Kind("timestamptz" if kind.tz else "timestamp", pa.timestamp("us", kind.tz))
    if pa.types.is_duration(kind):
        return INTERVAL
    if pa.types.is_time(kind):
        return TIME
    if pa.types.is_decimal(kind):
        return NUMERIC
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return _kind_of_list(kind.value_type)
    return JSONB if pa.types.is_nested(kind) else PLAIN.get(kind)


def _kind_of_list(items: Any) -> Kind:
    kind = PLAIN.get(items)
    if kind is None or kind.sql == "numeric" or pa.types.is_null(items):
        return JSONB
    return Kind(f"{kind.sql}[]", pa.list_(kind.arrow), _as_list)


INFERRED: dict[str, Kind] = {
    "empty": TEXT,
    "string": TEXT,
    "floating": PLAIN[pa.float64()],
    "mixed-integer-float": PLAIN[pa.float64()],
    "boolean": PLAIN[pa.bool_()],
    "time": Kind("time", pa.time64("us"), _as_time),
    "bytes": PLAIN[pa.binary()],
    "decimal": NUMERIC,
    "timedelta": Kind("interval", pa.duration("us"), _as_span),
}
"""What pandas sees in an object column to our kinds, where the values need no second look."""


def _kind_of_objects(series: pd.Series[Any], column: str) -> Kind:
    seen = pd.api.types.infer_dtype(series, skipna=True)
    if seen in INFERRED:
        return INFERRED[seen]
    present = series[series.notna().to_numpy()]
    if seen == "integer":
        return NUMERIC if _too_wide(present) else PLAIN[pa.int64()]
    if seen == "datetime":
        return _kind_of_datetimes(present, column)
    return _kind_of_one_type(present, series, column)


def _too_wide(values: pd.Series[Any]) -> bool:
    return bool(max(values) > 2**63 - 1 or min(values) < -(2**63))


def _kind_of_datetimes(values: pd.Series[Any], column: str) -> Kind:
    zoned = [value.tzinfo is not None for value in values]
    if any(zoned) and not all(zoned):
        position = zoned.index(not zoned[0])
        raise _unlike(values, values, position, column, "a time with a time zone beside times without")
    if any(zoned):
        return Kind("timestamptz", pa.timestamp("us", "UTC"), _as_moment)
    return Kind("timestamp", pa.timestamp("us"), _as_moment)


def _kind_of_one_type(present: pd.Series[Any], series: pd.Series[Any], column: str) -> Kind:
    values = list(present)
    first = type(values[0])
    for position, value in enumerate(values):
        if type(value) is not first:
            told = f"a {type(value).__name__} ({value!r:.60}) in a column that began with {first.__name__}"
            raise _unlike(present, series, position, column, told)
    if issubclass(first, datetime.date):
        return PLAIN[pa.date32()]
    if issubclass(first, uuid.UUID):
        return UUID
    if issubclass(first, dict):
        return JSONB
    if issubclass(first, list | tuple | np.ndarray):
        return _kind_of_lists(values)
    raise _unlike(present, series, 0, column, f"a {first.__name__} has no type in Postgres")


def _kind_of_lists(values: Sequence[Any]) -> Kind:
    if any(isinstance(item, datetime.datetime) for value in values for item in value):
        return JSONB  # beside dates Arrow would cut their times off
    try:
        return _kind_of_list(pa.array([_as_list(value) for value in values]).type.value_type)
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        return JSONB


def _unlike(present: pd.Series[Any], series: pd.Series[Any], nth: int, column: str, why: str) -> UnstorableValue:
    position = int(np.flatnonzero(series.notna().to_numpy())[nth])
    return UnstorableValue(column, present.index[nth], position, why)


def arrow_of(series: pd.Series[Any], column: Column, start: int) -> Any:
    """A plain batch's values as an Arrow array; `start` is the number of its first row. Raises UnstorableValue."""
    kind = column.kind
    try:
        if kind.cell is not None:
            return pa.array([_cell(kind.cell, value) for value in _cells(series)], kind.arrow)
        return _converted(series, kind.arrow)
    except (pa.ArrowException, ArithmeticError, TypeError, ValueError):
        raise _first_bad(series, column, start) from None


def _cells(series: pd.Series[Any]) -> Sequence[Any]:
    if series.dtype == object:
        return list(series)
    values: list[Any] = pa.array(series, from_pandas=True).to_pylist()
    return values


def _cell(cell: Callable[[Any], Any], value: Any) -> Any:
    return None if _is_missing(value) else cell(value)


def _is_missing(value: Any) -> bool:
    return value is None or value is pd.NA or value is pd.NaT or (isinstance(value, float) and value != value)


def _converted(series: pd.Series[Any], kind: Any) -> Any:
    if series.dtype == object:
        return pa.array(series, kind, from_pandas=True)
    values = pa.array(series, from_pandas=True)
    if isinstance(values, pa.ChunkedArray):
        values = values.combine_chunks()
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    return values if values.type == kind else values.cast(kind)


def _first_bad(series: pd.Series[Any], column: Column, start: int) -> UnstorableValue:
    for place in range(len(series)):
        one = series.iloc[place : place + 1]
        try:
            if column.kind.cell is not None:
                pa.array([_cell(column.kind.cell, value) for value in _cells(one)], column.kind.arrow)
            else:
                _converted(one, column.kind.arrow)
        except (pa.ArrowException, ArithmeticError, TypeError, ValueError) as error:
            why = f"{one.iloc[0]!r:.80} cannot be stored as {column.kind.sql} ({_short(error)})"
            return UnstorableValue(str(column.label), one.index[0], start + place, why)
    return UnstorableValue(str(column.label), series.index[0], start, "the values from here on cannot be stored")


def _short(error: BaseException) -> str:
    return str(error).splitlines()[0].rstrip(".")[:200]
