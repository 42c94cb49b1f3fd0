"""The joined writer: a step that finds the connection free is committed at once; those that find it busy, together."""

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
from headrace.store.runs import STATEMENT_SECONDS, RunStep, record_steps, step_statement, taken_steps

log = logging.getLogger(__name__)

UNWRITABLE = (asyncpg.PostgresError, ValueError, TypeError, OverflowError)
"""What is refused for the content's sake, once DATABASE_AWAY is told apart; trying again would not help."""


@dataclass
class _Waiting:
    step: RunStep
    answer: asyncio.Future[bool]


@dataclass
class StepWriter:
    """Writes steps over one connection of its own; callers are answered after the commit.

    While the database is away, steps wait and are tried again. A step whose answer was lost is looked up, not guessed.
    """

    database: Database
    service: UUID
    clock: Clock
    longest_batch: int = 256
    _free: Any = None
    """The statement that writes steps, while nobody uses it; None too while there is no connection."""
    _waiting: list[_Waiting] = field(default_factory=list)
    _doubtful: list[_Waiting] = field(default_factory=list)
    """Steps that were sent to the database and whose answer has not come."""
    _left: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when a caller leaves the statement, and something to do with it, to `run`."""

    async def write(self, step: RunStep) -> bool:
        """Record a step. True once it is committed; False when the run is no longer this service's to write."""
        if self._free is None:
            return await self._answer(step, self._waiting)
        statement, self._free = self._free, None
        try:
            # In the caller's own task: to hand a lone step over to another one costs turns of the event loop.
            return step.run in await record_steps(statement, self.service, [step])
        except DATABASE_AWAY as error:
            log.warning("the database did not answer (%s: %s); asking it again", type(error).__name__, error)
            answer = self._answer(step, self._doubtful)
        finally:
            self._leave(statement)
        return await answer

    def _answer(self, step: RunStep, steps: list[_Waiting]) -> asyncio.Future[bool]:
        answer: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        steps.append(_Waiting(step, answer))
        return answer

    def _leave(self, statement: Any) -> None:
        if self._waiting or self._doubtful:
            self._left.set()
        else:
            self._free = statement

    async def run(self) -> None:
        """Serve until cancelled: keep the connection, and write what callers found no free statement for."""
        pause = 0.05
        while True:
            try:
                async with self.database.reserved(answer_within=STATEMENT_SECONDS) as connection:
                    statement = await step_statement(connection)
                    await self._settle(connection, statement)
                    pause = 0.05
                    await self._serve(statement)
                    connection.terminate()
            except DATABASE_AWAY as error:
                log.warning("the database did not answer (%s: %s); trying again", type(error).__name__, error)
                await self.clock.sleep(pause)
                pause = min(pause * 2, 2.0)
            finally:
                self._free = None

    async def _serve(self, statement: Any) -> None:
        """Write whatever is left to us; returns when an answer was lost, for the connection is doubtful then."""
        while not self._doubtful:
            while self._waiting:
                self._doubtful, self._waiting = self._waiting[: self.longest_batch], self._waiting[self.longest_batch :]
                await self._commit(statement, self._doubtful)
                self._doubtful = []
            self._left.clear()
            self._free = statement
            await self._left.wait()

    async def _settle(self, connection: Any, statement: Any) -> None:
        """Answer the doubtful ones whose commit did happen; write the others again."""
        if not self._doubtful:
            return
        taken = await taken_steps(connection, [item.step for item in self._doubtful])
        for item in self._doubtful:
            if item.step.run in taken:
                _tell(item, True)
        again = [item for item in self._doubtful if item.step.run not in taken]
        if again:
            await self._commit(statement, again)
        self._doubtful = []

    async def _commit(self, statement: Any, batch: list[_Waiting]) -> None:
        try:
            taken = await record_steps(statement, self.service, [item.step for item in batch])
        except DATABASE_AWAY:
            raise
        except UNWRITABLE as error:
            await self._commit_apart(statement, batch, error)
            return
        for item in batch:
            _tell(item, item.step.run in taken)

    async def _commit_apart(self, statement: Any, batch: list[_Waiting], error: Exception) -> None:
        """One step among the batch cannot be written: the others must not suffer for it."""
        if len(batch) == 1:
            if not batch[0].answer.done():
                batch[0].answer.set_exception(error)
            return
        for item in batch:
            await self._commit(statement, [item])


def _tell(item: _Waiting, taken: bool) -> None:
    if not item.answer.done():
        item.answer.set_result(taken)
