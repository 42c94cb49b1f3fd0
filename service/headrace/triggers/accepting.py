"""Accepts events: they and the runs they make are committed together, and callers are answered after the commit.

Events that wait at the same moment are committed by one statement.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any
from uuid import uuid4

import asyncpg

from headrace.domain.errors import HeadraceError
from headrace.domain.events import Accepted, Fate, NewEvent
from headrace.store.errors import DATABASE_AWAY
from headrace.store.events import PlannedEvent
from headrace.triggers.book import KnownTrigger
from headrace.triggers.observing import IntakeObserver
from headrace.triggers.planning import Planner
from headrace.triggers.recording import Recorder, marks_of

__all__ = ["MANUAL", "START", "Accepted", "Acceptor", "NewEvent", "UnacceptableEvent"]

MANUAL = "manual"
"""The source of starts that somebody asked for."""
START = "start"
"""The kind of those events; their payload names the pipeline."""
LONGEST_BATCH = 256


class UnacceptableEvent(HeadraceError):
    """The database cannot hold an event's content."""

    code = "unacceptable-event"


@dataclass
class _Waiting:
    planned: PlannedEvent
    began: float
    answer: asyncio.Future[Accepted]


@dataclass
class Acceptor:
    """Accepts events for the projects of a service; `run` must be under way for all but `accept_in`."""

    planner: Planner
    recorder: Recorder
    made_runs: Callable[[Sequence[int]], None] = lambda runs: None
    """Called after a commit with the runs that it made and that nobody drives yet."""
    waits: Callable[[int], None] = lambda trigger: None
    """Called after a commit with each trigger that has one event more waiting for its batch."""
    observer: IntakeObserver = field(default_factory=IntakeObserver)
    _waiting: list[_Waiting] = field(default_factory=list)
    _arrived: asyncio.Event = field(default_factory=asyncio.Event)

    async def accept(self, event: NewEvent) -> Accepted:
        """Accept one event; returns after its commit. One of a key that is known is answered as it was then.

        Raises UnacceptableEvent, and what the database raises while it is away: then it is not known whether the event
        was committed, and trying the same again is right.
        """
        began = perf_counter()
        return await self._committed(await self.planner.plan(event), began)

    async def accept_all(self, events: Sequence[NewEvent]) -> list[Accepted]:
        """Accept several events, each by itself; the answers in order."""
        began = perf_counter()
        planned = [await self.planner.plan(event) for event in events]
        return list(await asyncio.gather(*(self._committed(item, began) for item in planned)))

    async def bury(self, event: NewEvent, reason: str) -> Accepted:
        """Accept an event as a dead letter for every trigger that listens to it; returns after its commit."""
        began = perf_counter()
        return await self._committed(self.planner.plan_dead(event, reason), began)

    async def accept_in(self, connection: Any, events: Sequence[NewEvent]) -> list[Accepted]:
        """Accept events inside the caller's transaction; call `committed` with the answers after its commit."""
        planned = [await self.planner.plan(event) for event in events]
        return [answer for batch in _batches(planned) for answer in await self.recorder.record_in(connection, batch)]

    async def start(
        self,
        project_id: int,
        pipeline: str,
        variables: Mapping[str, Any],
        *,
        key: str | None = None,
        priority: int = 0,
    ) -> Accepted:
        """Start a run that somebody asked for. Two starts of one `key` are one.

        Raises ProjectFault, UnknownProject, UnusableVariable.
        """
        event = NewEvent(project_id, MANUAL, START, key or uuid4().hex, {"pipeline": pipeline}, variables=variables)
        return await self.accept_start(event, pipeline, priority=priority)

    async def accept_start(self, event: NewEvent, pipeline: str, *, priority: int = 0) -> Accepted:
        """Accept an event that asks for a run of `pipeline` itself; returns after its commit.

        Raises ProjectFault, UnknownProject, UnusableVariable.
        """
        began = perf_counter()
        return await self._committed(await self.planner.plan_start(event, pipeline, priority=priority), began)

    async def start_in(
        self,
        connection: Any,
        event: NewEvent,
        pipeline: str,
        *,
        priority: int = 0,
        known: KnownTrigger | None = None,
    ) -> Accepted:
        """Start the run that an event asks for itself, inside the caller's transaction; tell `committed` after it.

        Where `known` is given, it is a run of that trigger. Raises ProjectFault, UnknownProject, UnusableVariable,
        TemplateError.
        """
        planned = await self.planner.plan_start(event, pipeline, priority=priority, known=known)
        return (await self.recorder.record_in(connection, [planned]))[0]

    def committed(self, answers: Sequence[Accepted], source: str, began: float) -> None:
        """Tell of what was accepted inside a caller's transaction that is committed now, and had at `began`."""
        for _ in answers:
            self.observer.event_accepted(source, perf_counter() - began)
        self.announce(answers)

    def announce(self, answers: Sequence[Accepted], driven: Collection[int] = ()) -> None:
        """Tell of runs and waiting events that are committed now; nobody need look for runs that are `driven`."""
        fresh = [answer for answer in answers if answer.is_new]
        if runs := [run for answer in fresh for run in answer.runs if run not in driven]:
            self.made_runs(runs)
        for answer in fresh:
            for fate in answer.fates:
                if fate.fate is Fate.WAITING and fate.trigger is not None:
                    self.waits(fate.trigger)

    async def run(self) -> None:
        """Serve until cancelled."""
        while True:
            await self._arrived.wait()
            batch = self._take()
            try:
                await self._commit(batch)
            except (*DATABASE_AWAY, HeadraceError, asyncpg.PostgresError) as error:
                _refuse(batch, error)
            except BaseException:
                _refuse(batch, asyncio.CancelledError())
                raise

    async def _committed(self, planned: PlannedEvent, began: float) -> Accepted:
        item = _Waiting(planned, began, asyncio.get_running_loop().create_future())
        self._waiting.append(item)
        self._arrived.set()
        return await item.answer

    def _take(self) -> list[_Waiting]:
        """The next batch: of events with a mark in common only the first."""
        batch: list[_Waiting] = []
        later: list[_Waiting] = []
        marks: set[object] = set()
        for item in self._waiting:
            own = marks_of(item.planned)
            if len(batch) == LONGEST_BATCH or marks & own:
                later.append(item)
                continue
            batch.append(item)
            marks |= own
        self._waiting = later
        if not later:
            self._arrived.clear()
        return batch

    async def _commit(self, batch: Sequence[_Waiting]) -> None:
        try:
            recorded = await self.recorder.record([item.planned for item in batch])
        except asyncpg.DataError as error:
            await self._commit_apart(batch, error)
            return
        for item, answer in zip(batch, recorded.answers, strict=True):
            if not item.answer.done():
                item.answer.set_result(answer)
            self.observer.event_accepted(item.planned.event.source, perf_counter() - item.began)
        self.announce(recorded.answers, recorded.driven)

    async def _commit_apart(self, batch: Sequence[_Waiting], error: asyncpg.DataError) -> None:
        """One event of the batch cannot be recorded: the others must not suffer for it."""
        if len(batch) > 1:
            for item in batch:
                await self._commit([item])
            return
        event = batch[0].planned.event
        refusal = UnacceptableEvent(
            f"The event {event.key} of {event.source} cannot be recorded: {error}",
            remedy="Send JSON without NaN, infinity or text that is no Unicode.",
        )
        _refuse(batch, refusal)


def _batches(planned: Sequence[PlannedEvent]) -> Iterator[list[PlannedEvent]]:
    """The events in their order, cut wherever one has a mark in common with an earlier one of its batch."""
    batch: list[PlannedEvent] = []
    marks: set[object] = set()
    for item in planned:
        own = marks_of(item)
        if len(batch) == LONGEST_BATCH or marks & own:
            yield batch
            batch, marks = [], set()
        batch.append(item)
        marks |= own
    if batch:
        yield batch


def _refuse(batch: Sequence[_Waiting], error: BaseException) -> None:
    for item in batch:
        if not item.answer.done():
            item.answer.set_exception(error)
