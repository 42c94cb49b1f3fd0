"""Turns what YAML gives into JSON values, as a pinned pipeline is stored."""

from __future__ import annotations

import datetime
import math
from collections.abc import Mapping
from typing import Any

from headrace.domain.errors import HeadraceError
from headrace.domain.moments import shielded_mapping, written


class NotPlain(ValueError):
    """A value has no form in JSON."""


class UnusableVariable(HeadraceError):
    """A run's variable has a value that cannot be kept: it has no form in JSON, or Postgres has none for it."""

    code = "unusable-variable"


def kept_variables(variables: Mapping[str, Any]) -> dict[str, Any]:
    """Variables as a run keeps them. Raises UnusableVariable."""
    kept: dict[str, Any] = {}
    for name, value in variables.items():
        try:
            kept[_text(name)] = plain(value)
        except NotPlain as error:
            raise UnusableVariable(f"Variable {name}: {error}.", remedy="Give it as text.") from error
    return kept


def plain(value: Any) -> Any:
    """The value in JSON's types. A date becomes ISO text, a set a list, a datetime what `revived` gives back.

    Raises NotPlain for binary values, for infinity and for text that is no Unicode or has a NUL in it.
    """
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, float):
        return _number(value)
    if isinstance(value, dict):
        return shielded_mapping({_text(str(key)): plain(item) for key, item in value.items()})
    if isinstance(value, list | tuple | set):
        return [plain(item) for item in value]
    if isinstance(value, datetime.datetime):
        return written(value)
    if isinstance(value, datetime.date):
        return value.isoformat()
    raise NotPlain(f"a value of type {type(value).__name__} cannot be kept")


def _text(value: str) -> str:
    if "\0" in value:
        raise NotPlain("a text with a NUL character cannot be kept")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise NotPlain("a text with half a surrogate pair cannot be kept") from error
    return value


def _number(value: float) -> float:
    if not math.isfinite(value):
        raise NotPlain(f"the number {value} cannot be kept")
    return value
