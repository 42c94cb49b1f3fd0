"""Log lines on their way: in order, in batches, past a line that is refused, and bounded while the database is away."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from datetime import UTC, datetime

from headrace.engine import log_writer as writing
from headrace.engine.clock import SystemClock
from headrace.engine.log_writer import LogWriter
from headrace.store.logs import StoredLine, log_lines


def line(number: int, text: str = "text", level: str = "INFO") -> StoredLine:
    return StoredLine(1, "a", 1, 1, number, datetime.now(UTC), "stdout", level, text)


@asynccontextmanager
async def served(database, **limits):
    writer = LogWriter(database, SystemClock(), **limits)
    task = asyncio.create_task(writer.run())
    try:
        yield writer
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_line_that_is_refused_keeps_back_no_other(database):
    async with served(database) as logs:
        for number in range(1, 101):
            logs.add(line(number, level="\0" if number == 37 else "INFO"))
        async with asyncio.timeout(10):
            await logs.flush()
        stored = [row["seq"] for row in await log_lines(database, 1)]
    assert stored == [number for number in range(1, 101) if number != 37]


async def test_while_the_database_is_away_lines_wait_and_none_is_lost(database, monkeypatch):
    store, away = writing.store_log_lines, asyncio.Event()

    async def store_when_back(*arguments):
        if not away.is_set():
            raise ConnectionRefusedError
        await store(*arguments)

    monkeypatch.setattr(writing, "store_log_lines", store_when_back)
    async with served(database, most_lines=10) as logs:
        went_on = asyncio.Event()
        for number in range(1, 13):
            logs.add(line(number))
        assert logs.is_full
        logs.when_room(went_on.set)
        away.set()
        async with asyncio.timeout(10):
            await went_on.wait()
            await logs.flush()
        assert not logs.is_full
        assert len(await log_lines(database, 1)) == 12
