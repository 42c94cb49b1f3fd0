"""Rows, outboxes and notifications of a real Postgres: nothing is passed over that another transaction still writes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from headrace.blocks import context
from headrace.blocks.sensors.postgres import NoSuchColumn
from headrace.sensors import postgres_notifications, postgres_outbox, postgres_rows
from headrace.store.database import Database

from tests.support.profiles import write_profile
from tests.support.projects import write_pipeline, write_project
from tests.support.sensors import sensor, sensor_service
from tests.support.triggers import write_triggers


@pytest.fixture
async def shop(empty_database_url: str) -> AsyncIterator[Any]:
    """A connection to a database with two tables."""
    connection = await asyncpg.connect(empty_database_url)
    await connection.execute("""
        CREATE TABLE orders (id serial PRIMARY KEY, total numeric, at timestamptz DEFAULT now());
        CREATE TABLE "Out box" (id bigserial PRIMARY KEY, body jsonb, done_at timestamptz);
    """)
    yield connection
    await connection.close()


class Looks:
    """One look at the orders after another; a cursor of None leaves it where it is."""

    def __init__(self, url: str, **settings: Any) -> None:
        self._settings = {"table": "orders", "column": "id", "url": url, **settings}
        self.cursor: Any = None

    async def __call__(self) -> list[str | None]:
        keys: list[str | None] = []
        async for events, cursor in postgres_rows(self.cursor, **self._settings):
            self.cursor = self.cursor if cursor is None else cursor
            keys += [event.key for event in events]
        return keys


async def test_rows_are_told_in_order_from_the_cursor_on(shop: Any, empty_database_url: str) -> None:
    look = Looks(empty_database_url, batch=2)
    await shop.execute("INSERT INTO orders (total) VALUES (1.5), (2), (3), (4), (5)")
    assert await look() == ["1", "2", "3", "4", "5"]
    assert look.cursor == ["5"]
    assert await look() == []
    await shop.execute("INSERT INTO orders (total) VALUES (6)")
    assert await look() == ["6"]


async def test_a_rows_event_has_its_columns(shop: Any, empty_database_url: str) -> None:
    await shop.execute("INSERT INTO orders (total, at) VALUES (1.5, '2026-05-01 12:00+02')")
    batches = [events async for events, _ in postgres_rows(None, table="orders", column="id", url=empty_database_url)]
    assert batches[0][0].payload == {"id": 1, "total": 1.5, "at": "2026-05-01T10:00:00+00:00"}


async def test_a_row_of_a_transaction_under_way_is_not_passed_over(shop: Any, empty_database_url: str) -> None:
    look = Looks(empty_database_url)
    other = await asyncpg.connect(empty_database_url)
    try:
        transaction = other.transaction()
        await transaction.start()
        await other.execute("INSERT INTO orders (total) VALUES (1)")
        await shop.execute("INSERT INTO orders (total) VALUES (2)")
        assert await look() == []
        await transaction.commit()
        assert await look() == ["1", "2"]
    finally:
        await other.close()


async def test_without_settling_a_late_row_is_found_by_overlap(shop: Any, empty_database_url: str) -> None:
    look = Looks(empty_database_url, settled=False, overlap=10)
    await shop.execute("INSERT INTO orders (id) VALUES (100)")
    assert await look() == ["100"]
    await shop.execute("INSERT INTO orders (id) VALUES (95), (80)")
    assert await look() == ["95", "100"]
    assert look.cursor == ["100"]
    await shop.execute("INSERT INTO orders (id) VALUES (101)")
    assert await look() == ["95", "100", "101"]
    assert look.cursor == ["101"]


async def test_rows_of_one_time_are_told_apart_by_their_key(shop: Any, empty_database_url: str) -> None:
    look = Looks(empty_database_url, column="at", key="id", batch=2)
    await shop.execute("INSERT INTO orders (at) SELECT '2026-05-01 12:00Z' FROM generate_series(1, 5)")
    assert await look() == [f"{number}@2026-05-01 12:00:00+00" for number in range(1, 6)]
    await shop.execute("UPDATE orders SET at = '2026-05-01 13:00Z' WHERE id = 2")
    assert await look() == ["2@2026-05-01 13:00:00+00"]
    overlapping = Looks(empty_database_url, column="at", key="id", overlap=60.0)
    overlapping.cursor = look.cursor
    assert await overlapping() == ["2@2026-05-01 13:00:00+00"]


async def test_a_sensor_that_starts_with_what_is_new_keeps_its_place(shop: Any, empty_database_url: str) -> None:
    await shop.execute("INSERT INTO orders (total) VALUES (1), (2)")
    look = Looks(empty_database_url, start="new")
    assert await look() == []
    assert look.cursor == ["2"]
    await shop.execute("INSERT INTO orders (total) VALUES (3)")
    assert await look() == ["3"]


@pytest.mark.parametrize(("settings", "told"), [({"table": "nothing"}, "no table"), ({"column": "nope"}, "id, total")])
async def test_what_the_database_does_not_have_is_named(
    shop: Any, empty_database_url: str, settings: dict[str, str], told: str
) -> None:
    with pytest.raises(NoSuchColumn, match=told):
        await Looks(empty_database_url, **settings)()


@pytest.mark.parametrize("done", [None, "done_at"])
async def test_an_outboxs_rows_are_finished_only_after_their_commit(
    shop: Any, empty_database_url: str, done: str | None
) -> None:
    settings = {"table": "Out box", "payload": "body", "done": done, "url": empty_database_url}
    left = 'SELECT count(*) FROM "Out box" WHERE done_at IS NULL'
    await shop.execute("""INSERT INTO "Out box" (body) VALUES ('{"n": 1}'), ('[2]')""")
    outbox = postgres_outbox(None, **settings)  # type: ignore[arg-type]
    events = await anext(outbox)
    assert [(event.key, event.payload) for event in events] == [("1", {"n": 1}), ("2", {"value": [2]})]
    assert await shop.fetchval(left) == 2
    with pytest.raises(StopAsyncIteration):
        await anext(outbox)
    assert await shop.fetchval(left) == 0
    assert await shop.fetchval('SELECT count(*) FROM "Out box"') == (0 if done is None else 2)


async def test_an_outbox_with_a_channel_looks_at_once(shop: Any, empty_database_url: str) -> None:
    outbox = postgres_outbox(None, table="Out box", channel="sent", url=empty_database_url)
    waiting = asyncio.ensure_future(anext(outbox))
    looked = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%AS key%' AND state = 'idle' AND pid <> pg_backend_pid()"
    while not await shop.fetchval(looked):
        await asyncio.sleep(0.01)
    async with asyncio.timeout(10):
        await shop.execute("""INSERT INTO "Out box" (body) VALUES ('1'); NOTIFY sent""")
        (event,) = await waiting
    assert event.payload["body"] == 1
    await outbox.aclose()  # type: ignore[attr-defined]


async def test_notifications_are_events_and_a_lost_connection_is_told(shop: Any, empty_database_url: str) -> None:
    heard = postgres_notifications(None, channel="news", url=empty_database_url)
    waiting = asyncio.ensure_future(anext(heard))
    while not await shop.fetchval("SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'LISTEN %'"):
        await asyncio.sleep(0.01)
    await shop.execute("""NOTIFY news, '{"a": 1}'""")
    async with asyncio.timeout(10):
        (event,) = await waiting
        assert (event.payload, event.headers) == ({"a": 1}, {"channel": "news"})
        waiting = asyncio.ensure_future(anext(heard))
        await asyncio.sleep(0)
        await shop.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() "
                           "AND datname = current_database()")  # fmt: skip
        with pytest.raises(ConnectionError, match="news"):
            await waiting


async def test_by_the_name_of_a_trigger_each_row_makes_one_run(
    shop: Any, empty_database_url: str, database: Database, tmp_path: Path
) -> None:
    root = write_project(tmp_path / "project")
    write_profile(root, empty_database_url)
    write_pipeline(root, "orders", {"load": []})
    rows = sensor("rows", use="postgres_rows", interval=0.2, configuration={"table": "orders", "column": "id"})
    box = {"table": "Out box", "payload": "body", "channel": "sent"}
    write_triggers(root, "orders", [rows, sensor("box", use="postgres_outbox", configuration=box)])
    async with sensor_service(database, root) as service:
        await shop.execute("INSERT INTO orders (total) SELECT generate_series(1, 3)")
        await shop.execute("""INSERT INTO "Out box" (body) VALUES ('{"n": 1}'); NOTIFY sent""")
        assert [row["total"] for row in await service.until_events("rows", 3)] == [1, 2, 3]
        assert await service.until_events("box", 1) == [{"n": 1}]
        view = await service.view("rows")
    assert view.cursor == ["3"]
    context.set_project("")
