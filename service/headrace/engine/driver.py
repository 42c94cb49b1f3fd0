"""Drives one run: takes in what happened, asks `domain.advance`, records the step, carries out its commands.

One step of a run is recorded at a time; whatever happens meanwhile goes into the next one together.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any

import anyio
from anyio.abc import TaskGroup

from headrace.domain.advance import advance
from headrace.domain.pipeline import Isolation, Pipeline
from headrace.domain.run import (
    Begun,
    BlockOutcome,
    CallBack,
    CalledBack,
    CancelAsked,
    Command,
    Ended,
    Enqueue,
    Fact,
    RunState,
    RunTimedOut,
    Started,
    Stop,
    TakenOver,
)
from headrace.domain.statuses import RUN_TERMINAL, BlockStatus
from headrace.engine.attempts import Attempt, AttemptRunner, Ending
from headrace.engine.calls import at
from headrace.engine.clock import Clock
from headrace.engine.log_writer import LogWriter
from headrace.engine.moves import block_move, run_reason
from headrace.engine.observing import Observer
from headrace.engine.slots import SlotKeeper
from headrace.engine.workers import Worker, WorkerKey, WorkerPool
from headrace.engine.writer import StepWriter
from headrace.store.runs import ClaimedRun, EndedAttempt, NewOutput, RunStep

LONGEST_WAIT = 60.0
"""Seconds after which the time is looked at again: the event loop's own does not count while a machine sleeps."""

MOST_WAITERS = 4
"""How many workers one run asks for at once when none is free."""


LOST = "lost"
"""The outcome of an attempt whose service was lost; it is no failure of the block's."""
LOST_ERROR: Mapping[str, Any] = {
    "kind": LOST, "type": "", "message": "the service that ran this attempt was lost", "text": "",
}  # fmt: skip


class RunLost(Exception):
    """The run is held by another service now; nothing of ours may be written to it any more."""


@dataclass(frozen=True)
class Parts:
    """What a driver works with; all of it shared by the runs of a service."""

    writer: StepWriter
    pool: WorkerPool
    logs: LogWriter
    clock: Clock
    random: random.Random
    project: Path
    slots: SlotKeeper
    changed: Callable[[int, bool], None]
    """Called after each recorded step of a run, with whether the run has ended."""
    observer: Observer = field(default_factory=Observer)
    draining: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when no block may start any more."""


@dataclass(frozen=True, slots=True)
class UnderWay:
    """What is known of an attempt that has started."""

    started_at: datetime | None
    worker_pid: int | None


@dataclass
class RunDriver:
    """Drives one claimed run to its end. `state` is the run as recorded."""

    run: ClaimedRun
    state: RunState
    parts: Parts
    attempts: AttemptRunner
    errors: dict[str, Any] = field(default_factory=dict)
    """The last error of each block that has one."""
    under_way: dict[str, UnderWay] = field(default_factory=dict)
    """Attempts that another service had under way, and those of sensors between two looks."""
    _tasks: TaskGroup = field(init=False)
    _step: int = field(init=False)
    _woken: asyncio.Event = field(default_factory=asyncio.Event)
    _facts: list[Fact] = field(default_factory=list)
    _endings: list[Ending] = field(default_factory=list)
    _ready: dict[str, float | None] = field(default_factory=dict)
    _offered: list[tuple[WorkerKey, Worker]] = field(default_factory=list)
    _waiters: Counter[WorkerKey] = field(default_factory=Counter)
    _looked_at: float = -math.inf
    """When it was last looked at what is ready."""
    _callbacks: set[anyio.CancelScope] = field(default_factory=set)
    _told: tuple[str, str | None, str | None] | None = None
    """The run's status, ending and reason as this driver recorded them last."""
    _cancel_asked: bool = False
    _is_turning: bool = False
    _scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    _lost: bool = False

    def __post_init__(self) -> None:
        self._step = self.run.step

    @property
    def pipeline(self) -> Pipeline:
        return self.state.pipeline

    @property
    def running(self) -> int:
        """How many blocks of the run are under way."""
        return sum(1 for state in self.state.blocks.values() if state.status is BlockStatus.RUNNING)

    @property
    def is_quiet(self) -> bool:
        """Whether nothing of the run is under way here: it can be given back without anything being done twice."""
        calls_back = any(state.callbacks_due for state in self.state.blocks.values())
        return not (self._is_turning or self._endings or self.running or calls_back)

    def wake(self) -> None:
        self._woken.set()

    def cancel(self) -> None:
        """Bring the run to its end as cancelled; returns at once."""
        if not self._cancel_asked:
            self._cancel_asked = True
            self._facts.append(CancelAsked())
            for under_way in self._callbacks:
                under_way.cancel()
            self.wake()

    def lose(self) -> None:
        """Stop everything at once and record nothing more: the run is, or may be, another service's by now."""
        self._lost = True
        self._scope.cancel()

    async def drive(self) -> None:
        """Drive the run until it has ended. Raises RunLost when it is not this service's any more."""
        with self._scope:
            await self._drive()
        if self._lost:
            raise RunLost

    async def _drive(self) -> None:
        self._facts.insert(0, TakenOver() if self.run.status == "running" else Begun())
        try:
            async with anyio.create_task_group() as self._tasks:
                self.attempts.open(self._tasks, self._ended)
                while await self._turned():
                    await self._next_event()
                self._tasks.cancel_scope.cancel()
        finally:
            with anyio.CancelScope(shield=True):
                self._give_back(await self.attempts.close())

    def _ended(self, ending: Ending) -> None:
        self._endings.append(ending)
        self.wake()

    def _give_back(self, workers: Sequence[Worker]) -> None:
        for worker in (*workers, *(ending.worker for ending in self._endings)):
            self.parts.pool.release(worker)
        self._return_offered()
        self.parts.slots.forget(self.run.id)
        if self.pipeline.isolation is Isolation.RUN:
            self.parts.pool.retire_key(self._token(""))

    def _return_offered(self) -> None:
        for _, worker in self._offered:
            self.parts.pool.release(worker)
        self._offered.clear()

    async def _next_event(self) -> None:
        deadline = self._next_due()
        if deadline is None:
            await self._woken.wait()
            return
        with anyio.move_on_after(min(max(deadline - self.parts.clock.now(), 0.0), LONGEST_WAIT)):
            await self._woken.wait()

    def _next_due(self) -> float | None:
        """When something comes due that was too early at the last look at what is ready; it may have passed by now."""
        times = [due for due in self._ready.values() if due is not None and due > self._looked_at]
        if (limit := self._time_limit()) is not None and self.state.ending is None:
            times.append(limit)
        return min(times, default=None)

    def _time_limit(self) -> float | None:
        if self.pipeline.timeout is None:
            return None
        return (self.run.started_at or self.run.created_at).timestamp() + self.pipeline.timeout

    async def _turned(self) -> bool:
        self._is_turning = True
        try:
            return await self._turn()
        finally:
            self._is_turning = False
            if self.parts.draining.is_set():
                self.parts.changed(self.run.id, False)

    async def _turn(self) -> bool:
        """One step of the run: take in, start what can start, record, carry out. False when the run has ended."""
        self._woken.clear()
        turn = _Turn()
        self._take_in(turn)
        started = self._start_ready(turn)
        try:
            if not turn.changed and not turn.commands:
                return True
            await self._record(turn, started)
        except BaseException:
            for attempt in started:
                self.parts.pool.release(attempt.worker)
            raise
        for attempt in started:
            self.attempts.start(attempt)
        self._release_slots(turn.ended)
        self._carry_out(turn.commands)
        return self.state.status not in RUN_TERMINAL

    def _release_slots(self, ended: Sequence[str]) -> None:
        """Give slots back once it is recorded that their blocks have ended; one that started again keeps its own."""
        for block in ended:
            if self.state.blocks[block].status is not BlockStatus.RUNNING:
                self.parts.slots.release(self.run.id, block)

    def _take_in(self, turn: _Turn) -> None:
        facts, self._facts = self._facts, []
        endings, self._endings = self._endings, []
        for ending in endings:
            self._take_in_ending(turn, ending)
        for fact in facts:
            self._advance(turn, fact)
        limit = self._time_limit()
        if limit is not None and self.state.ending is None and self.parts.clock.now() >= limit:
            self._advance(turn, RunTimedOut())

    def _take_in_ending(self, turn: _Turn, ending: Ending) -> None:
        attempt = self.state.blocks[ending.block].attempt
        self.parts.pool.release(ending.worker)
        turn.ended.append(ending.block)
        under_way = self.under_way.pop(ending.block, None) or UnderWay(ending.started_at, ending.worker_pid)
        ending = self._within_its_time(ending, under_way)
        outcome = self._outcome(ending)
        fact = Ended(ending.block, attempt, outcome, self.parts.clock.now(), self.parts.random.random(), ending.wait)
        if ending.error is not None:
            self.errors[ending.block] = ending.error
        if outcome is BlockOutcome.COMPLETED:
            self.attempts.shelf.put(ending.block, ending.result_outputs)
            turn.outputs.extend(ending.outputs)
            self.errors.pop(ending.block, None)
        self._advance(turn, fact)
        if self.state.blocks[ending.block].waiting:
            self.under_way[ending.block] = under_way
            return
        recorded = BlockOutcome.STOPPED if outcome is BlockOutcome.WAITING else outcome
        if under_way.started_at is not None:
            took = self.parts.clock.now() - under_way.started_at.timestamp()
            self.parts.observer.attempt_ended(self.pipeline.uuid, recorded, max(took, 0.0))
        turn.attempts.append(
            EndedAttempt(ending.block, attempt, recorded, ending.error, ending.worker_pid, under_way.started_at)
        )

    def _within_its_time(self, ending: Ending, under_way: UnderWay) -> Ending:
        """A sensor's time limit holds for all its looks together; the last one comes when the time is up."""
        limit = self.pipeline.by_uuid[ending.block].timeout
        if ending.outcome is not BlockOutcome.WAITING or limit is None or under_way.started_at is None:
            return ending
        left = under_way.started_at.timestamp() + limit - self.parts.clock.now()
        if left > 0:
            return replace(ending, wait=min(ending.wait, left))
        told = f"the sensor saw nothing within its limit of {limit:g} s."
        error = {"kind": "timeout", "type": "TimeoutError", "message": told, "text": told, "traceback": []}
        return replace(ending, outcome=BlockOutcome.FAILED, error=error)

    def _outcome(self, ending: Ending) -> BlockOutcome:
        if ending.outcome is BlockOutcome.STOPPED and self.state.ending is None:
            return BlockOutcome.FAILED
        return ending.outcome

    def _advance(self, turn: _Turn, fact: Fact) -> None:
        if self.state.status in RUN_TERMINAL:
            return
        before, step = self.state, advance(self.state, fact)
        self.state = step.run
        if not isinstance(fact, Started):
            turn.attempts.extend(self._left_attempts(before, fact, step.changed))
        turn.changed.update(dict.fromkeys(step.changed))
        turn.commands.extend(step.commands)
        for command in step.commands:
            if isinstance(command, Enqueue):
                self._ready[command.block] = command.due

    def _left_attempts(self, before: RunState, fact: Fact, changed: Sequence[str]) -> Iterator[EndedAttempt]:
        """Attempts that ended without an ending of their own: those of a lost service, and of sensors between looks."""
        ended = fact.block if isinstance(fact, Ended) else None
        outcome, error = (LOST, LOST_ERROR) if isinstance(fact, TakenOver) else (BlockOutcome.STOPPED, None)
        for block in changed:
            if block == ended or not before.blocks[block].under_way or self.state.blocks[block].under_way:
                continue
            known = self.under_way.pop(block, UnderWay(None, None))
            yield EndedAttempt(block, before.blocks[block].attempt, outcome, error, known.worker_pid, known.started_at)

    def _start_ready(self, turn: _Turn) -> list[Attempt]:
        started: list[Attempt] = []
        now = self._looked_at = self.parts.clock.now()
        if self.parts.draining.is_set():
            self._return_offered()
            return started
        for block, due in list(self._ready.items()):
            if self.state.blocks[block].status is not BlockStatus.QUEUED:
                del self._ready[block]
                continue
            if due is not None and due > now:
                continue
            if not self._within_limits():
                break
            if not self._has_slots(block):
                continue
            worker = self._worker_for(block)
            if worker is None:
                self._ask_for_workers(now)
                break
            del self._ready[block]
            turn.workers[block] = worker.pid
            self._advance(turn, Started(block))
            started.append(Attempt(self.pipeline.by_uuid[block], self.state.blocks[block].attempt, worker))
        self._return_unneeded()
        return started

    def _within_limits(self) -> bool:
        most = self.pipeline.limits.per_run
        return most is None or self.running < most

    def _has_slots(self, block: str) -> bool:
        """Whether a block holds the slots that it needs; if not, it waits for them from now on."""
        needs = self.pipeline.slots_of(block)
        if not needs or self.parts.slots.holds(self.run.id, block):
            return True
        self.parts.slots.ask(self.run.id, block, self.run.fence, needs, self.wake)
        return False

    def _worker_for(self, block: str) -> Worker | None:
        key = self._key(block)
        for position, (offered, worker) in enumerate(self._offered):
            if offered == key:
                del self._offered[position]
                return worker
        return self.parts.pool.try_acquire(key)

    def _key(self, block: str) -> WorkerKey:
        once = self.pipeline.isolation is Isolation.BLOCK
        return WorkerKey(str(self.parts.project), self.run.version, self._token(block), once)

    def _token(self, block: str) -> str:
        match self.pipeline.isolation:
            case Isolation.PIPELINE:
                return ""
            case Isolation.RUN:
                return f"run-{self.run.id}"
            case Isolation.BLOCK:
                return f"block-{self.run.id}-{block}-{self.state.blocks[block].attempt + 1}"

    def _startable(self, now: float) -> Iterator[str]:
        return (block for block, due in self._ready.items() if due is None or due <= now)

    def _ask_for_workers(self, now: float) -> None:
        """Wait for the workers that the first few blocks need; under isolation by block each needs one of its own."""
        wanted = Counter(self._key(block) for block in islice(self._startable(now), MOST_WAITERS))
        for key, count in wanted.items():
            for _ in range(count - self._waiters[key]):
                self._waiters[key] += 1
                self._tasks.start_soon(self._wait_for_worker, key)

    async def _wait_for_worker(self, key: WorkerKey) -> None:
        try:
            worker = await self.parts.pool.acquire(key)
        finally:
            self._waiters[key] -= 1
            if not self._waiters[key]:
                del self._waiters[key]
        self._offered.append((key, worker))
        self.wake()

    def _return_unneeded(self) -> None:
        """Give back the workers that were waited for and that no block needs any more."""
        if not self._offered:
            return
        wanted: set[WorkerKey] = set()
        if self._within_limits():
            wanted = {self._key(block) for block in self._startable(self.parts.clock.now())}
        for key, worker in self._offered:
            if key not in wanted:
                self.parts.pool.release(worker)
        self._offered = [(key, worker) for key, worker in self._offered if key in wanted]

    async def _record(self, turn: _Turn, started: Sequence[Attempt]) -> None:
        self._step += 1
        if self.state.status in RUN_TERMINAL:
            await self.parts.logs.flush()
        moves = tuple(
            block_move(self.pipeline, uuid, self.state.blocks[uuid], self.errors.get(uuid), turn.workers.get(uuid))
            for uuid in turn.changed
        )
        told = (self.state.status, self.state.ending, run_reason(self.state, self.errors))
        status, ending, reason = told if told != self._told else (None, None, None)
        step = RunStep(
            self.run.id,
            self.run.fence,
            self._step,
            status,
            ending,
            reason,
            moves,
            tuple(turn.attempts),
            tuple(turn.outputs),
        )
        # While the database is at work; their code runs only after the commit.
        preparing = asyncio.get_running_loop().call_soon(self._prepare, started)
        try:
            if not await self.parts.writer.write(step):
                raise RunLost
        finally:
            preparing.cancel()
        self._told = told
        if self.run.started_at is None:
            self.run = replace(self.run, started_at=at(self.parts.clock.now()))
        if self.state.status in RUN_TERMINAL:
            self.parts.observer.run_ended(self.pipeline.uuid, self.state.status)
        self.parts.changed(self.run.id, self.state.status in RUN_TERMINAL)

    def _carry_out(self, commands: Sequence[Command]) -> None:
        for command in commands:
            match command:
                case Stop(block):
                    self.attempts.stop(block)
                case CallBack(block):
                    self._tasks.start_soon(self._call_back, block)
                case _:
                    pass

    def _prepare(self, started: Sequence[Attempt]) -> None:
        for attempt in started:
            self.attempts.prepare(attempt)

    async def _call_back(self, block: str) -> None:
        """Call a block's callbacks; a cancel of the run stops those that are under way then."""
        with anyio.CancelScope() as scope:
            self._callbacks.add(scope)
            await self._call_each(block)
        self._callbacks.discard(scope)
        self._facts.append(CalledBack(block))
        self.wake()

    async def _call_each(self, block: str) -> None:
        key = self._key(block)
        for callback in self.pipeline.callbacks_of(block):
            worker = await self.parts.pool.acquire(key)
            try:
                await self.attempts.call_back(
                    callback,
                    self.pipeline.by_uuid[block],
                    self.state.blocks[block].status,
                    self.errors.get(block),
                    worker,
                )
            finally:
                self.parts.pool.release(worker)


@dataclass
class _Turn:
    """What one step of a run gathers before it is recorded."""

    changed: dict[str, None] = field(default_factory=dict)
    ended: list[str] = field(default_factory=list)
    """Blocks whose attempt is over."""
    commands: list[Command] = field(default_factory=list)
    attempts: list[EndedAttempt] = field(default_factory=list)
    outputs: list[NewOutput] = field(default_factory=list)
    workers: dict[str, int] = field(default_factory=dict)
