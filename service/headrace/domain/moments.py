"""Moments among JSON values: written so that nobody's own data can be taken for one."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

MOMENT = "$datetime"
VERBATIM = "$verbatim"
"""Around a mapping of somebody's data that looks like one of ours."""
_MARKS = frozenset({MOMENT, VERBATIM})


def written(moment: datetime) -> dict[str, str]:
    """A moment as it stands among JSON values."""
    return {MOMENT: moment.isoformat()}


def shielded(value: Any) -> Any:
    """JSON values of somebody else, to stand among moments: `revived` gives them back as they are."""
    return _shielded(value) if _looks_marked(value) else value


def shielded_mapping(value: dict[str, Any]) -> dict[str, Any]:
    """One mapping, of values that are shielded already."""
    return {VERBATIM: value} if _is_marked(value) else value


def revived(value: Any) -> Any:
    """JSON values with the moments in them as datetimes."""
    return _read(value, _as_datetime)


def told(value: Any) -> Any:
    """JSON values with the moments in them as ISO text, for whoever knows nothing of our marks."""
    return _read(value, str)


def _as_datetime(text: str) -> Any:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return {MOMENT: text}


def _read(value: Any, read: Any) -> Any:
    if isinstance(value, list):
        return [_read(item, read) for item in value]
    if not isinstance(value, Mapping):
        return value
    if _is_marked(value):
        mark, inner = next(iter(value.items()))
        if mark == MOMENT and isinstance(inner, str):
            return read(inner)
        if mark == VERBATIM and isinstance(inner, Mapping):
            value = inner
    return {name: _read(item, read) for name, item in value.items()}


def _is_marked(value: Mapping[str, Any]) -> bool:
    return len(value) == 1 and next(iter(value)) in _MARKS


def _looks_marked(value: Any) -> bool:
    """Whether anything in it must be shielded: hardly ever, so most payloads need no copy."""
    level = [value]
    while level:
        if any(isinstance(item, Mapping) and _is_marked(item) for item in level):
            return True
        level = [inner for outer in level for inner in _inner(outer)]
    return False


def _inner(value: Any) -> list[Any]:
    items = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ()
    return [item for item in items if isinstance(item, Mapping | list)]


def _shielded(value: Any) -> Any:
    if isinstance(value, list):
        return [_shielded(item) for item in value]
    if not isinstance(value, Mapping):
        return value
    return shielded_mapping({name: _shielded(item) for name, item in value.items()})
