"""The joined writer: steps of all runs that wait at the same moment are committed by one statement."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import asyncpg

from headrace.engine.clock import Clock
from headrace.store.database import Database
from headrace.store.errors import DATABASE_AWAY
from headrace.store.runs import RunStep, record_steps, taken_steps

log = logging.getLogger(__name__)

UNWRITABLE = (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError, asyncpg.exceptions.DataError, ValueError)
"""What the database refuses for the content's sake; trying again would not help."""


@dataclass
class _Waiting:
    step: RunStep
    answer: asyncio.Future[bool]


@dataclass
class StepWriter:
    """Writes steps under one connection of its own; callers are answered after the commit.

    While the database is away, steps wait and are tried again. A step whose answer was lost is looked up, not guessed.
    """

    database: Database
    service: UUID
    clock: Clock
    longest_batch: int = 256
    _waiting: list[_Waiting] = field(default_factory=list)
    _arrived: asyncio.Event = field(default_factory=asyncio.Event)

    async def write(self, step: RunStep) -> bool:
        """Record a step. True once it is committed; False when the run is no longer this service's to write."""
        answer: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(step, answer))
        self._arrived.set()
        return await answer

    async def run(self) -> None:
        """Serve until cancelled."""
        pause = 0.05
        doubtful: list[_Waiting] = []
        while True:
            try:
                async with self.database.pool.acquire() as connection:
                    # Planning the one large statement anew would cost more than carrying it out.
                    await connection.execute("SET plan_cache_mode = force_generic_plan")
                    doubtful = await self._settle(connection, doubtful)
                    pause = 0.05
                    while True:
                        await self._arrived.wait()
                        doubtful = self._take()
                        await self._commit(connection, doubtful)
                        doubtful = []
            except DATABASE_AWAY as error:
                log.warning("the database did not answer (%s: %s); trying again", type(error).__name__, error)
                await self.clock.sleep(pause)
                pause = min(pause * 2, 2.0)

    def _take(self) -> list[_Waiting]:
        batch, self._waiting = self._waiting[: self.longest_batch], self._waiting[self.longest_batch :]
        if not self._waiting:
            self._arrived.clear()
        return batch

    async def _settle(self, connection: Any, doubtful: list[_Waiting]) -> list[_Waiting]:
        """Answer those whose commit did happen; write the others again."""
        if not doubtful:
            return []
        taken = await taken_steps(connection, self.service, [item.step for item in doubtful])
        again = [item for item in doubtful if item.step.run not in taken]
        for item in doubtful:
            if item.step.run in taken:
                _answer(item, True)
        if again:
            await self._commit(connection, again)
        return []

    async def _commit(self, connection: Any, batch: list[_Waiting]) -> None:
        try:
            taken = await record_steps(connection, self.service, [item.step for item in batch])
        except UNWRITABLE as error:
            await self._commit_apart(connection, batch, error)
            return
        for item in batch:
            _answer(item, item.step.run in taken)

    async def _commit_apart(self, connection: Any, batch: list[_Waiting], error: Exception) -> None:
        """One step among the batch cannot be written: the others must not suffer for it."""
        if len(batch) == 1:
            if not batch[0].answer.done():
                batch[0].answer.set_exception(error)
            return
        for item in batch:
            await self._commit(connection, [item])


def _answer(item: _Waiting, taken: bool) -> None:
    if not item.answer.done():
        item.answer.set_result(taken)
