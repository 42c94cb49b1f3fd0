"""Carries out the attempts of blocks: inputs to the worker, the call, logs and outputs back."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

import anyio
import msgspec
from anyio.abc import TaskGroup

from headrace.domain.pipeline import Block, Pipeline
from headrace.domain.run import BlockOutcome
from headrace.domain.statuses import BlockStatus
from headrace.engine.calls import CallVariables, block_call, callback_call, run_variables
from headrace.engine.clock import Clock
from headrace.engine.log_writer import LogWriter
from headrace.engine.moves import clean
from headrace.engine.shelf import Shelf, new_outputs
from headrace.engine.workers import LogLine, Worker
from headrace.store.errors import DATABASE_AWAY, OutputFileFault
from headrace.store.logs import StoredLine
from headrace.store.runs import ClaimedRun, NewOutput
from headrace.worker.protocol import Failure, Outcome, Output, OutputRef, Result

T = TypeVar("T")

log = logging.getLogger(__name__)

NO_USE_IN_TRYING_AGAIN = frozenset({"source", "arguments"})
"""Kinds of failure that the same source will show every time."""

GRACE_SECONDS = 5.0
"""How long a block may take to end by itself after SIGTERM."""

CALLBACK_SECONDS = 600.0
"""How long a callback without a time limit of its own may take: its run cannot end before it."""

OUTCOMES = {
    Outcome.COMPLETED: BlockOutcome.COMPLETED,
    Outcome.CONDITION_FALSE: BlockOutcome.CONDITION_FALSE,
    Outcome.WAITING: BlockOutcome.WAITING,
}
CALLBACK_WORDS = {
    BlockStatus.COMPLETED: "success",
    BlockStatus.FAILED: "failure",
    BlockStatus.CANCELLED: "cancelled",
}


@dataclass(frozen=True)
class Ending:
    """How an attempt ended, before the run has taken it in."""

    block: str
    outcome: BlockOutcome
    worker: Worker
    started_at: datetime
    error: Mapping[str, Any] | None = None
    outputs: tuple[NewOutput, ...] = ()
    result_outputs: tuple[Output, ...] = ()
    wait: float = 0.0

    @property
    def worker_pid(self) -> int:
        return self.worker.pid


@dataclass(eq=False)
class Attempt:
    """One attempt of a block in a worker that it has for itself."""

    block: Block
    number: int
    worker: Worker
    started_at: datetime = field(init=False)
    is_prepared: bool = False
    is_calling: bool = False
    is_stopped: bool = False
    scope: anyio.CancelScope | None = None
    """Around what it waits for before and after its call."""


@dataclass
class AttemptRunner:
    """Runs the attempts of one run's blocks. An attempt is prepared, started once its start is recorded, and ends.

    On the way that most take nothing waits for a turn of the event loop: the result of a call that has only small
    outputs becomes an ending, and `ended` hears of it, where the result was read.
    """

    run: ClaimedRun
    pipeline: Pipeline
    project: Path
    shelf: Shelf
    logs: LogWriter
    clock: Clock
    tasks: TaskGroup = field(init=False)
    ended: Callable[[Ending], None] = field(init=False)
    _running: dict[str, Attempt] = field(default_factory=dict)
    _lines: dict[tuple[str, int], int] = field(default_factory=dict)
    _variables: CallVariables = field(init=False)

    def __post_init__(self) -> None:
        self._variables = run_variables(self.pipeline, self.run)

    def open(self, tasks: TaskGroup, ended: Callable[[Ending], None]) -> None:
        """Say in which group to wait, and who hears of endings: once of each attempt that was started."""
        self.tasks, self.ended = tasks, ended

    async def close(self) -> list[Worker]:
        """Stop what is under way, of which nobody hears then; the workers it had, when nothing of it is left."""
        running, self._running = list(self._running.values()), {}
        for attempt in running:
            self._stop(attempt)
        for attempt in running:
            if attempt.is_calling:
                await attempt.worker.stop(GRACE_SECONDS)
        await self.shelf.close()
        return [attempt.worker for attempt in running]

    def prepare(self, attempt: Attempt) -> None:
        """Send a call ahead if its inputs are at hand: the worker has read it by the time its start is recorded."""
        refs = self.shelf.kept(attempt.block.upstream)
        if refs is not None:
            self._prepare(attempt, refs)

    def start(self, attempt: Attempt) -> None:
        """Start an attempt whose start is recorded."""
        attempt.started_at = self._now()
        self._running[attempt.block.uuid] = attempt
        if attempt.is_prepared:
            self._start(attempt)
        else:
            self.tasks.start_soon(self._fetch_and_start, attempt)

    def stop(self, block: str) -> None:
        """Stop a block's attempt under way; its worker's whole process group goes."""
        if attempt := self._running.get(block):
            self._stop(attempt)

    def _stop(self, attempt: Attempt) -> None:
        attempt.is_stopped = True
        if attempt.is_calling:
            attempt.worker.end(GRACE_SECONDS)
        elif attempt.scope is not None:
            attempt.scope.cancel()

    def _prepare(self, attempt: Attempt, refs: Mapping[str, tuple[OutputRef, ...]]) -> None:
        call = block_call(
            attempt.block,
            self.pipeline,
            project=str(self.project),
            run=self.run.id,
            attempt=attempt.number,
            refs=refs,
            variables=self._variables,
            output_folder=str(self.shelf.folder),
        )
        attempt.worker.prepare(call)
        attempt.is_prepared = True

    def _start(self, attempt: Attempt) -> None:
        attempt.is_calling = True
        attempt.worker.start(
            on_log=self._logger(attempt.block.uuid, attempt.number),
            on_result=partial(self._returned, attempt),
            timeout=attempt.block.timeout,
            grace=GRACE_SECONDS,
            backlog=self.logs,
        )

    async def _fetch_and_start(self, attempt: Attempt) -> None:
        refs = await self._waited(attempt, lambda: self.shelf.refs(attempt.block.upstream))
        if refs is not None:
            self._prepare(attempt, refs)
            self._start(attempt)

    def _returned(self, attempt: Attempt, result: Result) -> None:
        attempt.is_calling = False
        if attempt.is_stopped:
            self._end_stopped(attempt)
        elif result.outcome is not Outcome.COMPLETED:
            self._end(attempt, self._without_outputs(attempt, result))
        elif any(output.path is not None for output in result.outputs):
            self.tasks.start_soon(self._store, attempt, result)
        else:
            self._end_completed(attempt, result, {})

    async def _store(self, attempt: Attempt, result: Result) -> None:
        blobs = await self._waited(attempt, lambda: self.shelf.store(result.outputs))
        if blobs is not None:
            self._end_completed(attempt, result, blobs)

    async def _waited(self, attempt: Attempt, work: Callable[[], Awaitable[T]]) -> T | None:
        """What `work` gives; None when the attempt was stopped meanwhile, or a file failed, which is told here."""
        found: T | None = None
        fault: OutputFileFault | None = None
        with anyio.CancelScope() as attempt.scope:
            try:
                found = await self._patiently(work)
            except OutputFileFault as error:
                fault = error
        if attempt.is_stopped:
            self._end_stopped(attempt)
            return None
        if fault is not None:
            self._end_failed(attempt, fault)
        return found

    def _end_completed(self, attempt: Attempt, result: Result, blobs: Mapping[int, UUID]) -> None:
        outputs = new_outputs(attempt.block.uuid, attempt.number, result.outputs, blobs)
        self._end(attempt, _ending(attempt, BlockOutcome.COMPLETED, outputs=outputs, result_outputs=result.outputs))

    def _end_failed(self, attempt: Attempt, fault: OutputFileFault) -> None:
        told = str(fault)
        error = {"kind": "output", "type": type(fault).__name__, "message": told, "text": told, "traceback": []}
        self._end(attempt, _ending(attempt, BlockOutcome.FAILED, error=error))

    def _end_stopped(self, attempt: Attempt) -> None:
        error = {"kind": "stopped", "type": "", "message": "the block was stopped", "text": ""}
        self._end(attempt, _ending(attempt, BlockOutcome.STOPPED, error=error))

    def _end(self, attempt: Attempt, ending: Ending) -> None:
        if self._running.pop(attempt.block.uuid, None) is attempt:
            self.ended(ending)

    def _without_outputs(self, attempt: Attempt, result: Result) -> Ending:
        if result.outcome in OUTCOMES:
            error = None if result.failure is None else error_value(result.failure)
            return _ending(attempt, OUTCOMES[result.outcome], wait=result.wait or 0.0, error=error)
        failure = result.failure
        refused = failure is not None and failure.kind in NO_USE_IN_TRYING_AGAIN
        outcome = BlockOutcome.REFUSED if refused else BlockOutcome.FAILED
        return _ending(attempt, outcome, error=error_value(failure))

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self.clock.now(), UTC)

    async def _patiently(self, work: Callable[[], Awaitable[T]]) -> T:
        """Do work on the database, again and again while it is away: the block's result is too dear to drop."""
        pause = 0.05
        while True:
            try:
                return await work()
            except DATABASE_AWAY as error:
                log.warning("run %s waits for the database (%s: %s)", self.run.id, type(error).__name__, error)
                await self.clock.sleep(pause)
                pause = min(pause * 2, 2.0)

    def _logger(self, block: str, attempt: int) -> Callable[[LogLine], None]:
        def add(line: LogLine) -> None:
            # A sensor's looks are one attempt: its lines are counted through all of them.
            seq = self._lines.get((block, attempt), 0) + 1
            self._lines[block, attempt] = seq
            self.logs.add(
                StoredLine(
                    self.run.id,
                    block,
                    attempt,
                    self.run.fence,
                    seq,
                    line.at,
                    line.stream,
                    clean(line.level),
                    clean(line.text),
                )
            )

        return add

    async def call_back(
        self, callback: Block, parent: Block, status: BlockStatus, error: Mapping[str, Any] | None, worker: Worker
    ) -> None:
        """Call one callback block for what became of `parent`; its failures are logged and change nothing."""
        logger = self._logger(callback.uuid, 1)
        refs: Mapping[str, tuple[OutputRef, ...]] = {parent.uuid: ()}
        if status is BlockStatus.COMPLETED:
            try:
                refs = await self._patiently(lambda: self.shelf.refs([parent.uuid]))
            except OutputFileFault as fault:
                logger(LogLine(0, "log", "ERROR", f"callback {callback.uuid} was not called: {fault}", self._now()))
                return
        call = callback_call(
            callback,
            parent,
            self.pipeline,
            project=str(self.project),
            run=self.run.id,
            outcome=CALLBACK_WORDS[status],
            error=(error or {}).get("text") or (error or {}).get("message"),
            refs=refs[parent.uuid],
            variables=self._variables,
            output_folder=str(self.shelf.folder),
        )
        limit = callback.timeout or CALLBACK_SECONDS
        result = await worker.call(call, on_log=logger, timeout=limit, grace=GRACE_SECONDS, backlog=self.logs)
        if result.failure is not None:
            told = result.failure.text or result.failure.message
            logger(LogLine(0, "log", "ERROR", f"callback {callback.uuid} failed: {told}", self._now()))


def _ending(attempt: Attempt, outcome: BlockOutcome, **more: Any) -> Ending:
    return Ending(attempt.block.uuid, outcome, attempt.worker, attempt.started_at, **more)


def error_value(failure: Failure | None) -> Mapping[str, Any]:
    """A failure as it is stored and shown."""
    if failure is None:
        return {"kind": "unknown", "type": "", "message": "the worker gave no reason", "text": "", "traceback": []}
    value: dict[str, Any] = msgspec.to_builtins(failure)
    return value
