"""Makes up for slots that passed while no service ran: one after the other, at the schedule's pace, once each.

What is left to do stands in the database and moves on in the transaction that records the events, so that any service
goes on where another one stopped.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import islice, takewhile
from time import perf_counter
from typing import Any

import asyncpg

from headrace.domain.errors import HeadraceError
from headrace.domain.events import Accepted
from headrace.store.database import Database
from headrace.store.schedules import (
    CatchingUp,
    Source,
    catching_up_due_in,
    drop_catching_up,
    go_on_catching_up,
    take_catching_up,
)
from headrace.triggers.accepting import Acceptor
from headrace.triggers.rounds import NOTHING_DUE, Rounds
from headrace.triggers.slots import MICROSECOND
from headrace.triggers.watching import Watch

log = logging.getLogger(__name__)

MOST_AT_ONCE = 50
"""Slots of one schedule that are made up for in one transaction, where it has no pace."""
REFUSED_SECONDS = 60.0
"""How long a schedule waits whose slot could not be recorded."""


@dataclass
class MakingUp:
    """Makes up for the missed slots of schedules; `watches` gives those whose policy is to."""

    database: Database
    acceptor: Acceptor
    watches: Callable[[], Iterable[Watch]]
    rounds: Rounds

    def wake(self) -> None:
        """Hear that some schedule has slots to be made up for."""
        self.rounds.wake()

    async def run(self) -> None:
        """Serve until cancelled."""
        await self.rounds.run(self.look)

    async def look(self) -> float:
        """Make up for what is due; seconds until more is, NOTHING_DUE for nothing."""
        watches = {watch.source: watch for watch in self.watches()}
        if not watches:
            return NOTHING_DUE
        while await self._make_up(watches):
            pass
        due_in = await catching_up_due_in(self.database, list(watches))
        return NOTHING_DUE if due_in is None else max(due_in, 0.0)

    async def _make_up(self, watches: dict[Source, Watch]) -> bool:
        """Make up for the next slots of one schedule; False where none is due."""
        refused: CatchingUp | None = None
        began = perf_counter()
        async with self.database.transaction() as connection:
            row = await take_catching_up(connection, list(watches))
            if row is None:
                return False
            try:
                async with connection.transaction():
                    answers = await self._record(connection, row, watches[row.project_id, row.source])
            except (HeadraceError, asyncpg.DataError) as error:
                log.error("a missed slot of %s cannot be recorded: %s", row.source, error)
                await go_on_catching_up(connection, (row.project_id, row.source), row.slots_after, REFUSED_SECONDS)
                refused = row
        if refused is None:
            self.acceptor.committed(answers, row.source, began)
        return True

    async def _record(self, connection: Any, row: CatchingUp, watch: Watch) -> list[Accepted]:
        pace = watch.schedule.catch_up_pace
        most = 1 if pace else MOST_AT_ONCE
        after = max(row.slots_after, watch.since - MICROSECOND)
        missed = takewhile(lambda timed: timed.slot.at <= row.slots_until, watch.timing.after(after))
        slots = list(islice(missed, most))
        answers = await self.acceptor.accept_in(connection, [watch.event(timed) for timed in slots])
        if len(slots) < most or slots[-1].slot.at >= row.slots_until:
            await drop_catching_up(connection, [watch.source])
        else:
            await go_on_catching_up(connection, watch.source, slots[-1].slot.at, pace)
        return answers
