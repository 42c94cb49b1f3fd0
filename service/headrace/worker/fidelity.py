"""Which DataFrames come back from Arrow exactly as they were: decided by types, before anything is written."""

from __future__ import annotations

import datetime
import zoneinfo
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd

_MASKED = (
    pd.Int8Dtype,
    pd.Int16Dtype,
    pd.Int32Dtype,
    pd.Int64Dtype,
    pd.UInt8Dtype,
    pd.UInt16Dtype,
    pd.UInt32Dtype,
    pd.UInt64Dtype,
    pd.Float32Dtype,
    pd.Float64Dtype,
    pd.BooleanDtype,
)
_PLAIN_KINDS = frozenset("biufMm")
_OBJECTS = frozenset({"date", "bytes", "time", "decimal"})


def survives_arrow(frame: pd.DataFrame) -> bool:
    """Tell whether Arrow gives `frame` back equal: values, dtypes, index, names and attrs."""
    return (
        frame.shape[1] > 0
        and frame.flags.allows_duplicate_labels
        and is_plain_json(frame.attrs)
        and _columns_survive(frame)
        and _index_survives(frame.index)
        and all(_values_survive(frame.iloc[:, position]) for position in range(frame.shape[1]))
    )


def _columns_survive(frame: pd.DataFrame) -> bool:
    columns = frame.columns
    if type(columns) is not pd.Index or str(columns.dtype) != "str" or not _is_name(columns.name):
        return False
    names = columns.tolist()
    taken = {*frame.index.names, *(name for name in names if str(name).startswith("__index_level_"))}
    return (
        all(type(name) is str and _is_encodable(name) for name in names)
        and columns.is_unique
        and taken.isdisjoint(names)
    )


def _is_name(name: Any) -> bool:
    return name is None or (type(name) is str and _is_encodable(name) and not name.startswith("__index_level_"))


def _is_encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _index_survives(index: pd.Index[Any]) -> bool:
    if not all(_is_name(name) for name in index.names):
        return False
    if isinstance(index, pd.MultiIndex):
        named = [name for name in index.names if name is not None]
        return len(set(named)) == len(named) and all(_level_survives(level) for level in index.levels)
    return isinstance(index, pd.RangeIndex) or _level_survives(index)


def _level_survives(level: pd.Index[Any]) -> bool:
    dtype = level.dtype
    if getattr(level, "freq", None) is not None:
        return False
    if isinstance(dtype, np.dtype):
        return dtype.kind in _PLAIN_KINDS and dtype.isnative
    return _is_plain_str(dtype) or _is_known_zone(dtype)


def _values_survive(column: pd.Series[Any]) -> bool:
    dtype = column.dtype
    if isinstance(dtype, np.dtype):
        if dtype.kind == "O":
            return _objects_survive(column)
        return dtype.kind in _PLAIN_KINDS and dtype.isnative
    return _extension_survives(dtype)


def _extension_survives(dtype: Any) -> bool:
    if isinstance(dtype, pd.CategoricalDtype):
        return _categories_survive(dtype.categories.dtype)
    if isinstance(dtype, pd.IntervalDtype):
        return isinstance(dtype.subtype, np.dtype) and dtype.subtype.kind in "if"
    if isinstance(dtype, pd.StringDtype):
        return dtype.storage == "pyarrow"
    return isinstance(dtype, (*_MASKED, pd.PeriodDtype)) or _is_known_zone(dtype)


def _categories_survive(dtype: Any) -> bool:
    if isinstance(dtype, np.dtype):
        return dtype.kind in "iufM" and dtype.isnative
    return _is_plain_str(dtype)


def _is_plain_str(dtype: Any) -> bool:
    return isinstance(dtype, pd.StringDtype) and dtype.storage == "pyarrow" and dtype.na_value is not pd.NA


def _is_known_zone(dtype: Any) -> bool:
    if not isinstance(dtype, pd.DatetimeTZDtype):
        return False
    zone = dtype.tz
    if isinstance(zone, zoneinfo.ZoneInfo):
        return zone.key is not None
    return isinstance(zone, datetime.timezone) and zone.utcoffset(None).total_seconds() % 60 == 0


def _objects_survive(column: pd.Series[Any]) -> bool:
    kind = pd.api.types.infer_dtype(column, skipna=True)
    if kind not in _OBJECTS:
        return False
    values = column.to_numpy()
    present = [value for value in values if value is not None]
    expected = {"date": datetime.date, "bytes": bytes, "time": datetime.time, "decimal": Decimal}[kind]
    if any(type(value) is not expected for value in present):
        return False
    if kind == "time":
        return all(value.tzinfo is None and not value.fold for value in present)
    return kind != "decimal" or _share_a_scale(present)


def _share_a_scale(values: list[Decimal]) -> bool:
    """Arrow keeps one scale for a column: Decimal('1.5') beside Decimal('1.50') would become Decimal('1.50')."""
    parts = [value.as_tuple() for value in values]
    scales = {part.exponent for part in parts}
    if len(scales) != 1:
        return False
    scale = scales.pop()
    longest = max(len(part.digits) for part in parts)
    negative_zero = any(part.sign and not any(part.digits) for part in parts)
    return isinstance(scale, int) and -38 <= scale <= 0 and longest <= 38 and not negative_zero


def is_plain_json(value: Any, depth: int = 100) -> bool:
    """Tell whether JSON gives `value` back equal and of the same types; lone surrogates are not looked for."""
    kind = type(value)
    if kind is str or kind is int or kind is float or kind is bool or value is None:
        return True
    if depth == 0:
        return False
    if kind is list:
        return all(is_plain_json(item, depth - 1) for item in value)
    if kind is dict:
        return all(type(key) is str and is_plain_json(item, depth - 1) for key, item in value.items())
    return False
