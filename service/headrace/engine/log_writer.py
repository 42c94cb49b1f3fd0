"""Log lines on their way to the database: gathered for a moment, written in batches, never more than fit in memory."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field

import asyncpg

from headrace.engine.clock import Clock
from headrace.store.database import Database
from headrace.store.errors import DATABASE_AWAY
from headrace.store.logs import StoredLine, store_log_lines

log = logging.getLogger(__name__)

GATHER_SECONDS = 0.1
BATCH_LINES = 2000
BATCH_BYTES = 4 << 20
MOST_LINES = 50_000
MOST_BYTES = 32 << 20


@dataclass
class LogWriter:
    """Writes lines soon after they arrive, in their order; `flush` waits until all that arrived are committed.

    While the database is slow or away lines pile up. Whoever brings them looks at `is_full` and waits by `when_room`.
    """

    database: Database
    clock: Clock
    most_lines: int = MOST_LINES
    most_bytes: int = MOST_BYTES
    _lines: list[StoredLine] = field(default_factory=list)
    _bytes: int = 0
    _held: list[Callable[[], None]] = field(default_factory=list)
    _arrived: asyncio.Event = field(default_factory=asyncio.Event)
    _hurry: asyncio.Event = field(default_factory=asyncio.Event)
    _flushers: list[asyncio.Future[None]] = field(default_factory=list)

    def add(self, line: StoredLine) -> None:
        """Take a line in; never waits."""
        self._lines.append(line)
        self._bytes += len(line.text)
        self._arrived.set()
        if len(self._lines) >= BATCH_LINES:
            self._hurry.set()

    @property
    def is_full(self) -> bool:
        """Whether so much is waiting that nothing more should be brought."""
        return len(self._lines) >= self.most_lines or self._bytes >= self.most_bytes

    def when_room(self, go_on: Callable[[], None]) -> None:
        """Call `go_on` once half of the room is free again."""
        self._held.append(go_on)

    def _let_go_on(self) -> None:
        if 2 * len(self._lines) <= self.most_lines and 2 * self._bytes <= self.most_bytes:
            held, self._held = self._held, []
            for go_on in held:
                go_on()

    @property
    def idle(self) -> bool:
        return not self._lines and not self._flushers and not self._arrived.is_set()

    async def flush(self) -> None:
        """Wait until every line that was added so far is committed."""
        if self.idle:
            return
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._flushers.append(done)
        self._arrived.set()
        self._hurry.set()
        await done

    async def run(self) -> None:
        """Serve until cancelled."""
        while True:
            await self._arrived.wait()
            await self._gather()
            flushers, self._flushers = self._flushers, []
            while self._lines:
                await self._write_batch()
            for done in flushers:
                if not done.done():
                    done.set_result(None)
            if not self._lines and not self._flushers:
                self._arrived.clear()
                self._hurry.clear()

    async def _gather(self) -> None:
        if self._hurry.is_set():
            return
        try:
            async with asyncio.timeout(GATHER_SECONDS):
                await self._hurry.wait()
        except TimeoutError:
            return

    async def _write_batch(self) -> None:
        batch = self._next_batch()
        pause = 0.1
        while True:
            try:
                await self._store(batch)
            except DATABASE_AWAY as error:
                log.warning("log lines wait for the database (%s)", error)
                await self.clock.sleep(pause)
                pause = min(pause * 2, 2.0)
            else:
                del self._lines[: len(batch)]
                self._bytes -= sum(len(line.text) for line in batch)
                self._let_go_on()
                return

    async def _store(self, batch: list[StoredLine]) -> None:
        """Write a batch; a line that the database refuses must not keep back the others."""
        try:
            await store_log_lines(self.database, batch)
        except DATABASE_AWAY:
            raise
        except asyncpg.PostgresError as error:
            if len(batch) == 1:
                log.error("a log line of run %s, block %s was refused: %s", batch[0].run, batch[0].block, error)
                return
            middle = len(batch) // 2
            await self._store(batch[:middle])
            await self._store(batch[middle:])

    def _next_batch(self) -> list[StoredLine]:
        size = 0
        for count, line in enumerate(self._lines[:BATCH_LINES], start=1):
            size += len(line.text)
            if size >= BATCH_BYTES:
                return self._lines[:count]
        return self._lines[:BATCH_LINES]
