"""Rows of a table in Postgres, its outbox, and its notifications."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

import asyncpg

from headrace.blocks.event import Event
from headrace.blocks.io.config import ConfigFileLoader
from headrace.blocks.io.connecting import Address, address_from, connect
from headrace.blocks.io.names import quoted
from headrace.blocks.sensors.messages import payload_of
from headrace.domain.errors import HeadraceError

_WAIT_SECONDS = 30.0
_SETTLED = "age(t.xmin) > age(pg_snapshot_xmin(pg_current_snapshot())::xid)"
"""Whether the transaction that wrote a row is older than every one that is still under way."""


class NoSuchColumn(HeadraceError):
    """The table that a sensor looks at, or a column of it, does not exist."""

    code = "no-such-column"


async def postgres_rows(
    cursor: Any = None,
    *,
    table: str,
    column: str,
    key: str | None = None,
    profile: str = "default",
    url: str | None = None,
    start: str = "first",
    overlap: float = 0.0,
    settled: bool = True,
    batch: int = 500,
) -> AsyncIterator[tuple[list[Event], Any]]:
    """An event for each row, in the order of a `column` that only ever grows; the payload is the row.

    `key` tells rows of equal `column` apart, and is part of the event's key then; it must be unique. Rows that were
    written while an older transaction is still under way are left for a later look, since that one may yet bring rows
    from before them (`settled`; views need it false). `overlap` looks again at so much below the cursor, in the
    column's unit or in seconds, for rows whose value was taken long before they were written. `start` is first or new.
    The database is that of the `profile` in io_config.yaml, or at `url`.
    """
    async with _connected(profile, url) as connection:
        names = [column] if key in (None, column) else [column, str(key)]
        types = await _types(connection, table, names)
        after = _texts(cursor)
        if after is None and start != "first":
            after = await _newest(connection, table, names)
            yield [], after
        while True:
            rows = await _rows(connection, table, names, types, after, overlap, settled, batch)
            ready = _ready(rows)
            if not ready:
                return
            last = [ready[-1][name] for name in ("c0", "c1")[: len(names)]]
            yield [_row_event(row, len(names)) for row in ready], last if ready[-1]["fresh"] else None
            after, overlap = last, 0.0
            if len(ready) < batch:
                return


def _texts(cursor: Any) -> list[str] | None:
    if cursor is None:
        return None
    return [str(item) for item in cursor] if isinstance(cursor, list) else [str(cursor)]


def _ready(rows: Sequence[Any]) -> list[Any]:
    """The rows before the first one that is not settled."""
    ready = []
    for row in rows:
        if not row["settled"]:
            break
        ready.append(row)
    return ready


async def _types(connection: Any, table: str, names: Sequence[str]) -> list[tuple[str, str]]:
    """Type and its category of each column, as SQL names them. Raises NoSuchColumn."""
    rows = await connection.fetch(
        "SELECT a.attname, format_type(a.atttypid, a.atttypmod) AS type, y.typcategory AS category "
        "FROM pg_attribute AS a JOIN pg_type AS y ON y.oid = a.atttypid "
        "WHERE a.attrelid = to_regclass($1) AND a.attnum > 0 AND NOT a.attisdropped",
        quoted(*table.split(".")),
    )
    found = {row["attname"]: (row["type"], row["category"].decode()) for row in rows}
    missing = [name for name in names if name not in found]
    if missing:
        known = ", ".join(found) or "no table of this name"
        raise NoSuchColumn(f"Table {table} has no column {missing[0]}.", remedy=f"Found: {known}.")
    return [found[name] for name in names]


async def _rows(
    connection: Any,
    table: str,
    names: Sequence[str],
    types: Sequence[tuple[str, str]],
    after: Sequence[str] | None,
    overlap: float,
    settled: bool,
    batch: int,
) -> list[Any]:
    columns = [f"t.{quoted(name)}" for name in names]
    texts = ", ".join(f"{name}::text AS c{place}" for place, name in enumerate(columns))
    fresh, where, arguments = _beyond(columns, types, after, overlap)
    sql = (
        f"SELECT row_to_json(t)::text AS row, {texts}, {_SETTLED if settled else 'true'} AS settled, "  # noqa: S608
        f"{fresh} AS fresh "
        f"FROM {quoted(*table.split('.'))} AS t{where} ORDER BY {', '.join(columns)} LIMIT {int(batch)}"
    )
    return list(await connection.fetch(sql, *arguments))


def _beyond(
    columns: Sequence[str], types: Sequence[tuple[str, str]], after: Sequence[str] | None, overlap: float
) -> tuple[str, str, list[Any]]:
    """Whether a row is beyond the cursor, which rows to look at, and the arguments of both."""
    if after is None:
        return "true", "", []
    places = ", ".join(f"${place}::text::{kind}" for place, (kind, _) in enumerate(types[: len(after)], start=1))
    fresh = f"({', '.join(columns[: len(after)])}) > ({places})"
    if not overlap:
        return fresh, f" WHERE {fresh}", list(after)
    kind, category = types[0]
    back = f"${len(after) + 1}::float8"
    back = f"make_interval(secs => {back})" if category == "D" else f"{back}::{kind}"
    return fresh, f" WHERE {columns[0]} >= $1::text::{kind} - {back}", [*after, overlap]


async def _newest(connection: Any, table: str, names: Sequence[str]) -> list[str] | None:
    columns = [f"t.{quoted(name)}" for name in names]
    row = await connection.fetchrow(
        f"SELECT {', '.join(f'{name}::text' for name in columns)} FROM {quoted(*table.split('.'))} AS t "  # noqa: S608
        f"ORDER BY {', '.join(f'{name} DESC' for name in columns)} LIMIT 1"
    )
    return None if row is None else list(row)


def _row_event(row: Mapping[str, Any], columns: int) -> Event:
    key = row["c0"] if columns == 1 else f"{row['c1']}@{row['c0']}"
    return Event(json.loads(row["row"]), key)


async def postgres_outbox(
    cursor: Any = None,
    *,
    table: str,
    key: str = "id",
    payload: str | None = None,
    done: str | None = None,
    channel: str | None = None,
    profile: str = "default",
    url: str | None = None,
    batch: int = 500,
) -> AsyncIterator[list[Event]]:
    """An event for each row of an outbox table, whose rows are deleted once their events are committed.

    `payload` names a json column that is the payload; else the whole row is. With `done`, a column of timestamps, rows
    are marked there and stay. With `channel` the sensor listens to its notifications and looks at once.
    """
    async with _connected(profile, url) as connection:
        woken = asyncio.Event()
        if channel is not None:
            await connection.add_listener(channel, lambda *_: woken.set())
            connection.add_termination_listener(lambda *_: woken.set())
        kind = (await _types(connection, table, [key]))[0][0]
        source, column = quoted(*table.split(".")), quoted(key)
        waiting = "" if done is None else f"WHERE t.{quoted(done)} IS NULL "
        look = (
            f"SELECT t.{column}::text AS key, row_to_json(t)::text AS row "  # noqa: S608
            f"FROM {source} AS t {waiting}ORDER BY t.{column} LIMIT {int(batch)}"
        )
        what = f"DELETE FROM {source}" if done is None else f"UPDATE {source} SET {quoted(done)} = now()"  # noqa: S608
        finish = f"{what} WHERE {column} = ANY ($1::text[]::{kind}[])"
        while True:
            woken.clear()
            while rows := await connection.fetch(look):
                yield [_outbox_event(row, payload) for row in rows]
                await connection.execute(finish, [row["key"] for row in rows])
            if channel is None:
                return
            with suppress(TimeoutError):
                await asyncio.wait_for(woken.wait(), _WAIT_SECONDS)


def _outbox_event(row: Mapping[str, Any], payload: str | None) -> Event:
    value = json.loads(row["row"])
    if payload is None:
        return Event(value, row["key"])
    content = value.get(payload)
    return Event(content if isinstance(content, dict) else {"value": content}, row["key"])


async def postgres_notifications(
    cursor: Any = None, *, channel: str, profile: str = "default", url: str | None = None
) -> AsyncIterator[list[Event]]:
    """An event for each notification of a channel. What is sent while nobody listens is lost: an outbox is not."""
    async with _connected(profile, url) as connection:
        arrived: asyncio.Queue[str | None] = asyncio.Queue()
        connection.add_termination_listener(lambda *_: arrived.put_nowait(None))
        await connection.add_listener(channel, lambda *told: arrived.put_nowait(told[3]))
        while True:
            told = [await arrived.get()]
            while not arrived.empty():
                told.append(arrived.get_nowait())
            events = [
                Event(payload_of(text.encode()), headers={"channel": channel}) for text in told if text is not None
            ]
            if events:
                yield events
            if None in told:
                raise ConnectionError(f"the connection on which {channel} was heard was lost")


@asynccontextmanager
async def _connected(profile: str, url: str | None) -> AsyncIterator[Any]:
    if url is not None:
        connection = await asyncpg.connect(url, timeout=10, server_settings={"timezone": "UTC"})
    else:
        address: Address = address_from(ConfigFileLoader(profile=profile))
        connection = await connect(address, {"search_path": address.schema} if address.schema else {})
    try:
        yield connection
    finally:
        with suppress(OSError, asyncpg.InterfaceError, TimeoutError):
            await connection.close(timeout=5)
