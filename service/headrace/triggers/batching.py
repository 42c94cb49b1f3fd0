"""Makes one run of the events that wait for a trigger's batch, once no more come or a bound is reached."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from headrace.blocks.templating import TemplateError
from headrace.domain.errors import HeadraceError
from headrace.domain.events import Fate
from headrace.domain.moments import shielded
from headrace.domain.triggers import Batch
from headrace.project.plain import UnusableVariable
from headrace.store.database import Database
from headrace.store.events import (
    BatchRun,
    TriggerLimit,
    WaitingBatch,
    WaitingEvent,
    active_runs,
    cancel_runs,
    end_waiting,
    lock_trigger_now,
    make_batch_run,
    waiting_batches,
    waiting_events,
)
from headrace.triggers.book import KnownTrigger, TriggerBook
from headrace.triggers.left_waiting import HandingOn
from headrace.triggers.limiting import skip_reason, too_many
from headrace.triggers.matching import event_names, run_variables
from headrace.triggers.pinning import Pinned, PipelinePins, overrides_of
from headrace.triggers.planning import limits_of
from headrace.triggers.rounds import NOTHING_DUE, Rounds

MOST_EVENTS = 10_000
"""Events that one run takes at most, whatever its trigger says."""


@dataclass
class Batcher:
    """Looks after the batches of all triggers; several services may, and each event still gets into one run."""

    database: Database
    book: TriggerBook
    pins: PipelinePins
    made_runs: Callable[[Sequence[int]], None] = lambda runs: None
    rounds: Rounds = field(default_factory=lambda: Rounds("batches"))

    def __post_init__(self) -> None:
        self._handing_on = HandingOn(self.database, self.book, self._flush)

    def wake(self, trigger: int) -> None:
        """Hear that a trigger has one event more waiting."""
        self.rounds.wake()

    async def run(self) -> None:
        """Serve until cancelled."""
        await self.rounds.run(self.look)

    async def look(self) -> float:
        """Make the runs that are due; seconds until the next one is, NOTHING_DUE for none."""
        pause = 0.0 if await self._handing_on.look() else NOTHING_DUE
        batching = {known.id: known for known in self.book.batching}
        if not batching:
            return pause
        async with self.database.connection() as connection:
            found = await waiting_batches(connection, list(batching))
        for waiting in found:
            known = batching[waiting.trigger_id]
            assert known.trigger.batch is not None  # noqa: S101 - those without are left out above
            due = due_in(known.trigger.batch, waiting)
            if due > 0:
                pause = min(pause, due)
            elif await self._flush(known):
                pause = 0.0
        return pause

    async def _flush(self, known: KnownTrigger) -> bool:
        """Make a trigger's batch; False where another service is at it."""
        batch = known.trigger.batch
        most = MOST_EVENTS if batch is None or batch.max_count is None else batch.max_count
        pinned, fault = await self._pinned(known)
        async with self.database.transaction() as connection:
            if not await lock_trigger_now(connection, known.id):
                return False
            events = await waiting_events(connection, known.id, min(most, MOST_EVENTS))
            if not events:
                return False
            run = await self._decide(connection, known, events, pinned, fault)
        if run is not None:
            self.made_runs([run])
        return True

    async def _pinned(self, known: KnownTrigger) -> tuple[Pinned | None, str]:
        try:
            return await self.pins.pin(known.project.id, known.trigger.pipeline, overrides_of(known.trigger)), ""
        except HeadraceError as error:
            return None, str(error)

    async def _decide(
        self, connection: Any, known: KnownTrigger, events: Sequence[WaitingEvent], pinned: Pinned | None, fault: str
    ) -> int | None:
        ids = [event.id for event in events]
        try:
            planned = None if pinned is None else _batch_run(known, events, pinned)
        except (TemplateError, UnusableVariable) as error:
            planned, fault = None, f"trigger {known.trigger.pipeline}/{known.trigger.name}: {error}"
        if planned is None:
            await end_waiting(connection, known.id, ids, Fate.DEAD, fault)
            return None
        new, limit = planned
        if limit is not None:
            active = (await active_runs(connection, [known.id]))[known.id]
            if (reason := skip_reason(limit, active)) is not None:
                await end_waiting(connection, known.id, ids, Fate.SKIPPED, reason)
                return None
            await cancel_runs(connection, too_many(limit, active))
        return await make_batch_run(connection, new, ids)


def _batch_run(
    known: KnownTrigger, events: Sequence[WaitingEvent], pinned: Pinned
) -> tuple[BatchRun, TriggerLimit | None]:
    """The run of a batch, and the limit that is to be looked at before it is made."""
    trigger = known.trigger
    variables = run_variables(trigger, known.project.environ, batch_names(events), None, {})
    variables["events"] = [shielded(event.payload) for event in events]
    gates, limit = limits_of(known, pinned.pipeline, variables)
    new = BatchRun(known.project.id, trigger.pipeline, pinned.version, variables, trigger.priority, known.id, gates)
    return new, limit


def due_in(batch: Batch, waiting: WaitingBatch) -> float:
    """Seconds until a batch is due; 0 or less once it is."""
    if batch.max_count is not None and waiting.waiting >= batch.max_count:
        return 0.0
    quiet = batch.delay - (waiting.now - waiting.last_at).total_seconds()
    if batch.max_wait is None:
        return quiet
    return min(quiet, batch.max_wait - (waiting.now - waiting.first_at).total_seconds())


def batch_names(events: Sequence[WaitingEvent]) -> dict[str, Any]:
    """What a trigger's templates can name of a batch; `event` is the last one's payload."""
    return {**event_names(events[-1]), "events": [event.payload for event in events]}
