"""Makes the runs of backfills, at their pace and within their concurrency, whatever the number of services."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from time import perf_counter
from typing import Any
from zoneinfo import ZoneInfo

import asyncpg

from headrace.domain.backfills import IntervalRun, left_out_now
from headrace.domain.errors import HeadraceError
from headrace.domain.events import Accepted, Fate
from headrace.domain.intervals import last_intervals, read_every
from headrace.domain.schedules import Schedule
from headrace.domain.triggers import TriggerKind
from headrace.store.backfills import (
    LockedBackfill,
    WaitingInterval,
    active_intervals,
    end_backfill_if_done,
    leave_out_intervals,
    live_backfills,
    lock_backfill,
    lock_intervals,
    newest_runs_for,
    note_made_intervals,
    put_off_backfill,
    waiting_intervals,
)
from headrace.store.database import Database
from headrace.store.events import WaitingEvent, end_waiting, waiting_for_backfill
from headrace.triggers.accepting import Acceptor
from headrace.triggers.backfilling import PRIORITY, BackfillRequest, create_in
from headrace.triggers.book import KnownTrigger, TriggerBook
from headrace.triggers.interval_runs import event_of
from headrace.triggers.matching import event_names, run_variables
from headrace.triggers.rounds import NOTHING_DUE, Rounds

log = logging.getLogger(__name__)

MOST_AT_ONCE = 50
"""Runs that one transaction makes."""
PUT_OFF_SECONDS = 10.0
"""How long a backfill waits whose runs cannot be made, for instance while its pipeline cannot be read."""


class UnusableTrigger(HeadraceError):
    """The trigger as whose runs those of a backfill are made is not there, or broken."""

    code = "unusable-trigger"


@dataclass(frozen=True, slots=True)
class _Step:
    """What one look at a backfill made, and seconds until the next one is worth it."""

    answers: Sequence[Accepted]
    pause: float


@dataclass
class Backfills:
    """Looks after the backfills of the projects that a service serves."""

    database: Database
    acceptor: Acceptor
    book: TriggerBook
    projects: Sequence[int]
    rounds: Rounds = field(default_factory=lambda: Rounds("backfills"))

    def wake(self) -> None:
        """Hear that a backfill was made or changed, or that a run has ended."""
        self.rounds.wake()

    async def run(self) -> None:
        """Serve until cancelled."""
        await self.rounds.run(self.look)

    async def look(self) -> float:
        """Make the runs that may be made now; seconds until the next may be, NOTHING_DUE for none known."""
        await self._make_backfills()
        pause = NOTHING_DUE
        for backfill in await live_backfills(self.database, self.projects):
            pause = min(pause, await self._go_on(backfill))
        return pause

    async def _make_backfills(self) -> None:
        """Make the backfills of events whose triggers want one instead of a run."""
        wanting = {known.id: known for known in self.book.backfilling}
        if not wanting:
            return
        async with self.database.transaction() as connection:
            for waiting in await waiting_for_backfill(connection, list(wanting), MOST_AT_ONCE):
                known = wanting[waiting.trigger_id]
                fate, reason = await _backfill_of(connection, known, waiting.event)
                await end_waiting(connection, known.id, [waiting.event.id], fate, reason)

    async def _go_on(self, backfill: int) -> float:
        began = perf_counter()
        async with self.database.transaction() as connection:
            locked = await lock_backfill(connection, backfill)
            if locked is None:
                return NOTHING_DUE
            if locked.due_in > 0:
                return locked.due_in
            room = locked.concurrency - await active_intervals(connection, backfill)
            most = min(room, 1 if locked.pace > 0 else MOST_AT_ONCE)
            waiting = await waiting_intervals(connection, backfill, MOST_AT_ONCE) if most > 0 else []
            if not waiting:
                ended = await end_backfill_if_done(connection, backfill)
                if ended is not None:
                    log.info("backfill %s of %s is %s", backfill, locked.pipeline, ended)
                return NOTHING_DUE
            step = await self._step(connection, locked, waiting, most)
        self.acceptor.committed(step.answers, "backfill", began)
        return step.pause

    async def _step(
        self, connection: Any, backfill: LockedBackfill, waiting: Sequence[WaitingInterval], most: int
    ) -> _Step:
        """Make the runs of the first intervals that the policy still wants: others may have run some meanwhile."""
        await lock_intervals(connection, backfill.project_id, backfill.pipeline)
        newest = await newest_runs_for(
            connection, backfill.project_id, backfill.pipeline, [interval.start_at for interval in waiting]
        )
        reasons = {
            interval.position: reason
            for interval in waiting
            if (reason := _left_out(newest, backfill, interval)) is not None
        }
        await leave_out_intervals(connection, backfill.id, reasons)
        wanted = [interval for interval in waiting if interval.position not in reasons][:most]
        try:
            async with connection.transaction():
                answers = await self._make(connection, backfill, wanted)
        except (HeadraceError, asyncpg.DataError) as error:
            log.warning("backfill %s of %s can make no run now: %s", backfill.id, backfill.pipeline, error)
            await put_off_backfill(connection, backfill.id, str(error), PUT_OFF_SECONDS)
            return _Step((), PUT_OFF_SECONDS)
        return _Step(answers, backfill.pace if answers else 0.0)

    async def _make(
        self, connection: Any, backfill: LockedBackfill, wanted: Sequence[WaitingInterval]
    ) -> Sequence[Accepted]:
        known = self._trigger_of(backfill)
        answers = [
            await self.acceptor.start_in(
                connection,
                event_of(backfill, interval, known),
                backfill.pipeline,
                priority=backfill.priority,
                known=known,
            )
            for interval in wanted
        ]
        made = {interval.position: answer.runs[0] for interval, answer in zip(wanted, answers, strict=True)}
        if made:
            await note_made_intervals(connection, backfill.id, made)
        return answers

    def _trigger_of(self, backfill: LockedBackfill) -> KnownTrigger | None:
        """The trigger as whose runs a backfill's are made, as it is now. Raises UnusableTrigger."""
        if backfill.trigger_name is None:
            return None
        known = self.book.recorded(backfill.project_id, backfill.pipeline, backfill.trigger_name)
        if known is None or (backfill.of_slots and known.trigger.kind is not TriggerKind.SCHEDULE):
            raise UnusableTrigger(
                f"Trigger {backfill.pipeline}/{backfill.trigger_name} cannot be used: it is not there, is broken, or"
                " has no schedule.",
                remedy=f"Mend it, or `headrace backfills cancel {backfill.id}`.",
            )
        return known


def _left_out(
    newest: Mapping[datetime, IntervalRun], backfill: LockedBackfill, interval: WaitingInterval
) -> str | None:
    return left_out_now(newest.get(interval.start_at), backfill.reprocess, retried=interval.tries > 0)


async def _backfill_of(connection: Any, known: KnownTrigger, event: WaitingEvent) -> tuple[Fate, str]:
    """Make the backfill of an event; its fate, and the reason that is told."""
    try:
        return Fate.BACKFILL, f"backfill {await create_in(connection, _request(known, event))}"
    except HeadraceError as error:
        return Fate.DEAD, f"trigger {known.trigger.pipeline}/{known.trigger.name}: {error}"


def _request(known: KnownTrigger, event: WaitingEvent) -> BackfillRequest:
    trigger, window, moment = known.trigger, known.trigger.backfill, event.occurred_at
    assert window is not None  # noqa: S101 - those without are left out above
    zone = trigger.when.timezone if isinstance(trigger.when, Schedule) else "UTC"
    every = read_every(window.every)
    start, end = last_intervals(moment, every, window.last, ZoneInfo(zone))
    return BackfillRequest(
        known.project.id,
        trigger.pipeline,
        start,
        end,
        every,
        zone,
        window.reprocess,
        window.order,
        run_variables(trigger, known.project.environ, event_names(event), event.payload, {}),
        window.concurrency,
        priority=min(trigger.priority, PRIORITY),
        name=f"{trigger.name} {moment:%Y-%m-%d %H:%M}",
        trigger_name=trigger.name,
    )
