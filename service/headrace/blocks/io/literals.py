"""Values in the text of a query: `%(name)s` and `%s` as psycopg has them, each written out as a literal of SQL."""

from __future__ import annotations

import datetime
import decimal
import json
import math
import re
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from headrace.blocks.io.base import ConnectorFault

Variables = Mapping[str, Any] | Sequence[Any]
_PLACE = re.compile(r"%%|%\((\w+)\)s|%s")


class BadVariable(ConnectorFault):
    """A query asks for a variable that is not given, or that has no form in SQL."""

    code = "query-variable"


def filled(query: str, variables: Variables) -> str:
    """The query with its variables in place, and `%%` as `%`; untouched when there are none. Raises BadVariable."""
    if len(variables) == 0:
        return query
    if isinstance(variables, Mapping):
        return _PLACE.sub(_by_name(variables), query)
    rest = iter(variables)
    text = _PLACE.sub(_in_order(rest), query)
    if next(rest, rest) is not rest:
        raise BadVariable(f"The query has places for fewer than the {len(variables)} variables that are given.")
    return text


def _by_name(variables: Mapping[str, Any]) -> Callable[[re.Match[str]], str]:
    def place(found: re.Match[str]) -> str:
        if found[0] == "%%":
            return "%"
        name = found[1] or ""
        if name not in variables:
            told = f"The query asks for the variable {name}" if name else "The query has a %s"
            raise BadVariable(f"{told}, but is given {', '.join(variables)}.")
        return literal(variables[name])

    return place


def _in_order(values: Any) -> Callable[[re.Match[str]], str]:
    def place(found: re.Match[str]) -> str:
        if found[0] == "%%":
            return "%"
        if found[1]:
            raise BadVariable(f"The query asks for the variable {found[1]} by name, but is given a list.")
        try:
            return literal(next(values))
        except StopIteration:
            raise BadVariable("The query has more places for variables than are given.") from None

    return place


def literal(value: Any) -> str:
    """A value as SQL writes it. A tuple is a list for IN, a list an array, a dict jsonb. Raises BadVariable."""
    plain = value.item() if hasattr(value, "item") and hasattr(value, "dtype") and not value.shape else value
    if plain is None or type(plain).__name__ in ("NAType", "NaTType"):
        return "NULL"
    for kinds, write in _WRITERS:
        if isinstance(plain, kinds):
            return write(plain)
    if hasattr(plain, "tolist"):
        return literal(plain.tolist())
    raise BadVariable(f"A {type(value).__name__} has no form in SQL.", remedy="Pass text, a number, a time or a list.")


def _text(value: str) -> str:
    if "\0" in value:
        raise BadVariable(f"Postgres cannot take the NUL character in {value!r:.60}.")
    doubled = value.replace("'", "''")
    return f" E'{doubled.replace(chr(92), chr(92) * 2)}'" if "\\" in doubled else f"'{doubled}'"


def _number(value: Any) -> str:
    # The blank keeps `-%s` from beginning a comment.
    return f" {value}" if value < 0 else str(value)


def _float(value: float) -> str:
    return _number(value) if math.isfinite(value) else f"'{value}'::double precision"


def _decimal(value: decimal.Decimal) -> str:
    return _number(value) if value.is_finite() else f"'{value}'::numeric"


def _array(value: Sequence[Any]) -> str:
    return f"ARRAY[{', '.join(map(literal, value))}]" if value else "'{}'"


def _several(value: Sequence[Any]) -> str:
    return f"({', '.join(map(literal, value)) or 'NULL'})"


def _json(value: Any) -> str:
    return f"{_text(json.dumps(value))}::jsonb"


def _moment(value: datetime.datetime) -> str:
    return f"'{value.isoformat(' ')}'::{'timestamp' if value.tzinfo is None else 'timestamptz'}"


def _span(value: datetime.timedelta) -> str:
    return f"'{value.days} days {value.seconds}.{value.microseconds:06} seconds'::interval"


_WRITERS: Sequence[tuple[type | tuple[type, ...], Callable[[Any], str]]] = (
    (bool, lambda value: "true" if value else "false"),
    (int, lambda value: _number(int(value))),
    (float, lambda value: _float(float(value))),
    (str, lambda value: _text(str(value))),
    (decimal.Decimal, _decimal),
    (datetime.datetime, _moment),
    (datetime.date, lambda value: f"'{value.isoformat()}'::date"),
    (datetime.time, lambda value: f"'{value.isoformat()}'::{'time' if value.tzinfo is None else 'timetz'}"),
    (datetime.timedelta, _span),
    ((bytes, bytearray, memoryview), lambda value: f"'\\x{bytes(value).hex()}'::bytea"),
    (uuid.UUID, lambda value: f"'{value}'::uuid"),
    (tuple, _several),
    (list, _array),
    (dict, _json),
)
"""Types and how their values are written; the first that fits counts."""
