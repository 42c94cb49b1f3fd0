"""Messages of brokers: what they hold as a payload, and which of those that come again were committed before."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any


def payload_of(body: bytes | None) -> Mapping[str, Any]:
    """A JSON object as it is; anything else under `value`: other JSON, text, or (`base64`) bytes that are no text."""
    if body is None:
        return {"value": None}
    try:
        text = body.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(body).decode()}
    try:
        value = json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return {"value": text}
    return value if isinstance(value, dict) else {"value": value}


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is no JSON")


def digest(*parts: object) -> str:
    """A short text that tells these parts from others."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:32]


class Repeats:
    """Tells which of the messages that a broker delivers again were committed before they could be acknowledged.

    For brokers whose messages have no id of their own. What was committed last is kept in the cursor; of messages that
    look the same, as many are taken for repeats as were committed.
    """

    def __init__(self, cursor: Any) -> None:
        kept = cursor.get("unacknowledged") if isinstance(cursor, Mapping) else None
        self._committed = Counter(kept if isinstance(kept, list) else [])

    def is_repeat(self, mark: str) -> bool:
        """Whether a message that comes again was committed before; counts it off."""
        if self._committed[mark] <= 0:
            return False
        self._committed[mark] -= 1
        return True

    def cursor(self, marks: Iterable[str]) -> dict[str, Any]:
        """The cursor to commit with messages of these marks; what was committed before them is acknowledged by now."""
        left = [mark for mark, times in self._committed.items() for _ in range(times)]
        return {"unacknowledged": [*left, *marks]}


async def next_batch(arrived: asyncio.Queue[Any], most: int) -> list[Any]:
    """The messages that are there, at least one. Raises an error that lies among them: it ended the connection."""
    messages = [await arrived.get()]
    while len(messages) < most and not arrived.empty():
        messages.append(arrived.get_nowait())
    for message in messages:
        if isinstance(message, BaseException):
            raise message
    return messages
