"""Entries of a Redis stream."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from typing import Any

from headrace.blocks.event import Event
from headrace.blocks.sensors.clients import client
from headrace.blocks.sensors.messages import payload_of

CONSUMER = "headrace"
_BLOCK_MILLISECONDS = 5000


async def redis_stream(
    cursor: Any = None,
    *,
    stream: str,
    url: str = "redis://localhost:6379",
    group: str | None = None,
    start: str = "first",
    field: str | None = None,
    batch: int = 100,
) -> AsyncIterator[tuple[list[Event], Any]]:
    """An event for each entry; its key is the entry's id, its payload the entry's fields, or the JSON in one `field`.

    The cursor is the id of the last entry. With a consumer `group`, the group's place counts in its stead, and entries
    are acknowledged after their commit. `start` (first, new) tells where to begin at first.
    """
    asyncio_redis = client("redis.asyncio", "redis")
    connection = asyncio_redis.Redis.from_url(
        url, decode_responses=True, encoding_errors="replace", socket_timeout=None, socket_connect_timeout=10
    )
    try:
        reading = (
            _grouped(connection, stream, group, start, batch)
            if group
            else _from(connection, stream, cursor, start, batch)
        )
        async for entries, place in reading:
            yield [_event(stream, key, fields or {}, field) for key, fields in entries], place
    finally:
        await connection.aclose()


async def _from(
    connection: Any, stream: str, cursor: Any, start: str, batch: int
) -> AsyncIterator[tuple[list[Any], str]]:
    """Entries beyond the cursor, each time with the new cursor; the place where it begins is one, too."""
    last = str(cursor or "") or await _first_place(connection, stream, start)
    if not cursor:
        yield [], last
    while True:
        answer = await connection.xread({stream: last}, count=batch, block=_BLOCK_MILLISECONDS)
        for entries in _entries(answer):
            if entries:
                last = entries[-1][0]
                yield entries, last


async def _first_place(connection: Any, stream: str, start: str) -> str:
    if start == "first":
        return "0"
    newest = await connection.xrevrange(stream, count=1)
    return str(newest[0][0]) if newest else "0"


async def _grouped(
    connection: Any, stream: str, group: str, start: str, batch: int
) -> AsyncIterator[tuple[list[Any], None]]:
    """What the group delivered and nobody acknowledged, then what is new; acknowledged once the yield goes on."""
    await _ensure_group(connection, stream, group, start)
    place = "0"
    while True:
        answer = await connection.xreadgroup(
            group, CONSUMER, {stream: place}, count=batch, block=_BLOCK_MILLISECONDS if place == ">" else None
        )
        entries = [entry for each in _entries(answer) for entry in each]
        if not entries:
            place = ">"
            continue
        kept = [entry for entry in entries if entry[1]]
        if kept:
            yield kept, None
        await connection.xack(stream, group, *(key for key, _ in entries))


async def _ensure_group(connection: Any, stream: str, group: str, start: str) -> None:
    errors = client("redis.exceptions", "redis")
    try:
        await connection.xgroup_create(stream, group, id="0" if start == "first" else "$", mkstream=True)
    except errors.ResponseError as error:
        if "BUSYGROUP" not in str(error):
            raise


def _entries(answer: Any) -> list[list[Any]]:
    """The entries in an answer, in either version of Redis's protocol."""
    streams = answer.values() if isinstance(answer, Mapping) else [entries for _, entries in answer or ()]
    flat: list[list[Any]] = []
    for entries in streams:
        nested = (
            bool(entries) and isinstance(entries[0], list) and bool(entries[0]) and isinstance(entries[0][0], tuple)
        )
        flat.extend(entries if nested else [entries])
    return flat


def _event(stream: str, key: str, fields: Mapping[str, str], field: str | None) -> Event:
    payload = dict(fields) if field is None else payload_of(fields[field].encode() if field in fields else None)
    occurred_at = datetime.fromtimestamp(int(key.split("-")[0]) / 1000, UTC)
    return Event(payload, key, occurred_at, {"stream": stream, "id": key})
