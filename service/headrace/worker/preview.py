"""What people see of an output without reading it whole: small strict JSON.

A frame: `{"kind": "table", "columns": [{"name", "dtype"}], "rows": [[...]], "row_count", "byte_count"}`, where index
levels that say something come first, marked `"index": true`. Anything else: `{"kind": "value", "type", "text"}`.
"""

from __future__ import annotations

import math
from itertools import islice
from typing import Any

import msgspec
import pandas as pd

ROWS = 1000
COLUMNS = 500
CELL = 300
TEXT = 10_000
BYTES = 256 * 1024
_EXACT_IN_BROWSERS = 2**53
_ITEMS = 1000
_ENCODER = msgspec.json.Encoder()


def preview_json(value: Any) -> bytes:
    """The preview of a value as JSON."""
    return _ENCODER.encode(preview_of(value))


def preview_of(value: Any) -> dict[str, Any]:
    """A preview of at most about 256 KiB of JSON: no NaN, no NUL character, no lone surrogates."""
    if isinstance(value, pd.DataFrame):
        return _guarded(_table, value)
    if isinstance(value, pd.Series):
        return _guarded(_table, value.to_frame())
    return {"kind": "value", "type": type(value).__qualname__, "text": _text(value)}


def _guarded(preview: Any, frame: pd.DataFrame) -> dict[str, Any]:
    try:
        return preview(frame)  # type: ignore[no-any-return]
    except Exception as error:  # a boundary: cells run their own code when shown, and a preview must not fail a block
        return {"kind": "value", "type": "DataFrame", "text": safe_text(f"no preview: {error!r}")[:TEXT]}


def _table(frame: pd.DataFrame) -> dict[str, Any]:
    head = frame.iloc[:ROWS, :COLUMNS]
    index = [] if isinstance(frame.index, pd.RangeIndex) else _levels(head)
    columns = [(name, head.iloc[:, position]) for position, name in enumerate(head.columns)]
    described = [{"name": name, "dtype": str(values.dtype), "index": True} for name, values in index]
    described += [{"name": _label(name), "dtype": str(values.dtype)} for name, values in columns]
    cells = [_cells(values) for _, values in index] + [_cells(values) for _, values in columns]
    return {
        "kind": "table",
        "columns": described,
        "column_count": int(frame.shape[1]),
        "rows": _capped([list(row) for row in zip(*cells, strict=True)]),
        "row_count": len(frame),
        "byte_count": int(frame.memory_usage(index=True).sum()),
    }


def _levels(head: pd.DataFrame) -> list[tuple[str, pd.Index[Any]]]:
    names = head.index.names
    return [
        ("index" if name is None else _label(name), head.index.get_level_values(place))
        for place, name in enumerate(names)
    ]


def _label(name: Any) -> str:
    return safe_text(str(name))[:CELL]


def _capped(rows: list[list[Any]]) -> list[list[Any]]:
    """As many of the first rows as fit into the preview's bytes."""
    size = 0
    for count, row in enumerate(rows):
        size += len(_ENCODER.encode(row))
        if size > BYTES:
            return rows[:count]
    return rows


def _cells(values: pd.Series[Any] | pd.Index[Any]) -> list[Any]:
    kind = getattr(values.dtype, "kind", "O")
    if kind == "f":
        return [_number(item) for item in values.tolist()]
    if kind == "M":
        return [item if isinstance(item, str) and item != "NaT" else None for item in values.astype(str).tolist()]
    return [_cell(item) for item in values.tolist()]


def _number(item: Any) -> Any:
    if item is pd.NA or item != item:
        return None
    return item if math.isfinite(item) else str(item)


def _cell(item: Any) -> Any:
    kind = type(item)
    if kind is str:
        return safe_text(item[:CELL])
    if kind is bool or item is None:
        return item
    if kind is int:
        return item if -_EXACT_IN_BROWSERS <= item <= _EXACT_IN_BROWSERS else _digits(item)
    if kind is float:
        return _number(item)
    if item is pd.NA or item is pd.NaT:
        return None
    return safe_text(_repr(item) if isinstance(item, (dict, list, tuple, set)) else str(item))[:CELL]


def _digits(item: int) -> str:
    return str(item) if item.bit_length() < 1024 else hex(item)[:CELL]


def safe_text(text: str) -> str:
    """The text without NUL characters and lone surrogates."""
    if not text.isascii():
        text = text.encode("utf-8", "replace").decode()
    return text.replace("\x00", "\ufffd") if "\x00" in text else text


def _text(value: Any) -> str:
    kind = type(value)
    if kind is str or kind is bytes:
        value = value[:TEXT]
    elif kind is int:
        return _digits(value)
    return safe_text(_repr(value)[:TEXT])


def _repr(value: Any) -> str:
    """repr(), of the first items alone where a container is long."""
    try:
        if type(value) in (list, tuple, set, frozenset) and len(value) > _ITEMS:
            return f"{list(islice(value, _ITEMS))!r} ... {len(value)} items"
        if type(value) is dict and len(value) > _ITEMS:
            return f"{dict(islice(value.items(), _ITEMS))!r} ... {len(value)} items"
        return repr(value)
    except Exception as error:  # a boundary: repr() runs the value's own code
        return f"<{type(value).__qualname__}: its repr raised {type(error).__name__}>"
