"""What a request's body says: JSON, a form or text as values; anything else is kept as bytes alone."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import parse_qsl

import msgspec

from headrace.domain.errors import HeadraceError

JSON = re.compile(r"(application|text)/([\w.-]+\+)?json")
JSON_TYPE = "application/json"
FORM = "application/x-www-form-urlencoded"
MOST_FIELDS = 1000
MOST_DEPTH = 200
"""Levels of a payload: what is deeper could not be read again everywhere."""


class UnreadablePayload(HeadraceError):
    """A body is not what its Content-Type says."""

    code = "unreadable-payload"


def payload_of(content_type: str, body: bytes) -> Any:
    """A body's value; None where it is empty or no text. Raises UnreadablePayload."""
    kind = content_type.partition(";")[0].strip().lower()
    if not body:
        return None
    if JSON.fullmatch(kind):
        return _json(body)
    if kind == FORM:
        return _form(body)
    if kind.startswith("text/"):
        return _text(body)
    return _json_or_none(body)


def _json(body: bytes) -> Any:
    try:
        value = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UnreadablePayload(f"The body is no JSON: {error}.", remedy="Send JSON as UTF-8.") from error
    except RecursionError:
        raise _too_deep() from None
    if not _is_flat_enough(value):
        raise _too_deep()
    return value


def _too_deep() -> UnreadablePayload:
    return UnreadablePayload(f"The body's JSON is more than {MOST_DEPTH} levels deep.", remedy="Send it flatter.")


def _is_flat_enough(value: Any) -> bool:
    level = [value]
    for _ in range(MOST_DEPTH):
        level = [inner for outer in level for inner in _inner(outer)]
        if not level:
            return True
    return False


def _inner(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [inner for inner in value.values() if isinstance(inner, dict | list)]
    return [inner for inner in value if isinstance(inner, dict | list)] if isinstance(value, list) else []


def _json_or_none(body: bytes) -> Any:
    try:
        return _json(body)
    except UnreadablePayload:
        return None


def _form(body: bytes) -> Any:
    """A form's fields; the one field `payload` with JSON, as GitHub and Slack send it, stands for the whole."""
    try:
        pairs = parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=MOST_FIELDS, errors="strict")
    except ValueError as error:
        raise UnreadablePayload(f"The body is no form: {error}.", remedy="Send it as UTF-8.") from error
    fields: dict[str, Any] = {}
    for name, value in pairs:
        if name in fields:
            earlier = fields[name]
            fields[name] = [*(earlier if isinstance(earlier, list) else [earlier]), value]
        else:
            fields[name] = value
    if fields.keys() == {"payload"} and isinstance(fields["payload"], str):
        return _json(fields["payload"].encode())
    return fields


def _text(body: bytes) -> str:
    try:
        return body.decode()
    except UnicodeDecodeError as error:
        raise UnreadablePayload("The body is no text in UTF-8.", remedy="Send it as UTF-8.") from error
