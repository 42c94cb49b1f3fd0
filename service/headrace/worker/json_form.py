"""The JSON form of any value: strict JSON, floats and integers with all their digits, times as ISO text.

What JSON lacks has one form each: NaN, infinities and missing values are null, bytes are base64, decimals and durations
are text. A frame is a list of records, its index first where the index says something.
"""

from __future__ import annotations

import base64
import datetime
import enum
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd

from headrace.domain.errors import HeadraceError

ROWS = 10_000
"""Rows of a frame that are in memory as records at once."""
_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))


class NoJsonForm(HeadraceError):
    """A value has no JSON form: two names in it would become one, or it holds itself."""

    code = "no-json-form"


def json_parts(value: Any) -> Iterator[bytes]:
    """A value's JSON text, in parts. Raises NoJsonForm, for a frame before the first part."""
    try:
        if isinstance(value, (pd.DataFrame, pd.Series)):
            yield from _frame_parts(_framed(value))
        else:
            yield _text(plain(value))
    except RecursionError:
        raise NoJsonForm("The value holds itself, or is nested too deep.", remedy="Ask for table.") from None


def plain(value: Any) -> Any:
    """A value out of what JSON has: null, true, false, numbers, text, lists and objects."""
    kind = type(value)
    if value is None or kind is bool or kind is int:
        return value
    if kind is str:
        return value
    if kind is float:
        return value if math.isfinite(value) else None
    if isinstance(value, (pd.DataFrame, pd.Series)):
        return list(_records(_framed(value)))
    if isinstance(value, Mapping):
        return _object((_name(key), plain(item)) for key, item in value.items())
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item) for item in value]
    return _scalar(value)


def _scalar(value: Any) -> Any:
    if value is pd.NA or value is pd.NaT:
        return None
    if isinstance(value, np.datetime64):
        return _scalar(pd.Timestamp(value))
    if isinstance(value, np.timedelta64):
        return _scalar(pd.Timedelta(value))
    if isinstance(value, np.generic | np.ndarray | pd.Index | pd.api.extensions.ExtensionArray):
        given = value.tolist()
        return str(value) if type(given) is type(value) else plain(given)
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, datetime.timedelta):
        return _duration(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return base64.b64encode(value).decode()
    if isinstance(value, enum.Enum):
        return plain(value.value)
    for kind in (str, int, float):
        if isinstance(value, kind):
            return plain(kind(value))
    return str(value)


def _duration(value: datetime.timedelta) -> str:
    """As ISO 8601 writes it; one that is too long for that as Python does."""
    try:
        return pd.Timedelta(value).isoformat()
    except OverflowError:
        return str(value)


def _name(key: Any) -> str:
    """What a key or a column is called: texts as they are, what JSON has as JSON writes it, tuples as Python does."""
    if isinstance(key, tuple | frozenset):
        return str(key)
    made = plain(key)
    return made if isinstance(made, str) else _ENCODER.encode(made)


def _object(items: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for name, value in items:
        if name in made:
            raise NoJsonForm(f"Two keys of an object would both be {name!r}.", remedy="Ask for table.")
        made[name] = value
    return made


def _framed(value: pd.DataFrame | pd.Series[Any]) -> pd.DataFrame:
    if isinstance(value, pd.DataFrame):
        return value
    return value.to_frame(name=value.name if value.name is not None else "value")


def _frame_parts(frame: pd.DataFrame) -> Iterator[bytes]:
    _names(frame)
    yield b"["
    for start in range(0, len(frame), ROWS):
        records = ",".join(map(_ENCODER.encode, _records(frame.iloc[start : start + ROWS])))
        yield _encoded("," * (start > 0) + records)
    yield b"]"


def _records(frame: pd.DataFrame) -> Iterator[dict[str, Any]]:
    names = _names(frame)
    columns = [_cells(frame.iloc[:, place]) for place in range(frame.shape[1])]
    if _has_index(frame):
        columns = [*(_cells(frame.index.get_level_values(n)) for n in range(frame.index.nlevels)), *columns]
    rows: Iterable[tuple[Any, ...]] = zip(*columns, strict=True) if columns else [()] * len(frame)
    return (dict(zip(names, row, strict=True)) for row in rows)


def _names(frame: pd.DataFrame) -> list[str]:
    """What the members of a record are called. Raises NoJsonForm where two have one name."""
    index = frame.index
    levels = [f"level_{n}" if index.nlevels > 1 else "index" for n in range(index.nlevels)]
    named = [level if name is None else _name(name) for level, name in zip(levels, index.names, strict=True)]
    names = [*(named if _has_index(frame) else ()), *map(_name, frame.columns)]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise NoJsonForm(f"Two columns would both be called {twice!r} in JSON.", remedy="Ask for csv, or rename one.")
    return names


def _has_index(frame: pd.DataFrame) -> bool:
    return not isinstance(frame.index, pd.RangeIndex)


def _cells(values: pd.Series[Any] | pd.Index[Any]) -> list[Any]:
    kind = getattr(values.dtype, "kind", "O")
    if kind in "iub" and isinstance(values.dtype, np.dtype):
        return values.tolist()
    return [plain(item) for item in values.tolist()]


def _text(value: Any) -> bytes:
    return _encoded(_ENCODER.encode(value))


def _encoded(text: str) -> bytes:
    """As UTF-8; a lone surrogate, which that cannot hold, is escaped as JSON does."""
    return text.encode("utf-8", "backslashreplace")
