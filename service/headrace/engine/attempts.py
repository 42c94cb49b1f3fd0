"""Carries out one attempt of a block: inputs to the worker, the call, logs and outputs back."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import anyio
import msgspec

from headrace.domain.pipeline import Block, Pipeline
from headrace.domain.run import BlockOutcome
from headrace.domain.statuses import BlockStatus
from headrace.engine.calls import block_call, callback_call, run_variables
from headrace.engine.clock import Clock
from headrace.engine.log_writer import LogWriter
from headrace.engine.moves import clean
from headrace.engine.shelf import Shelf
from headrace.engine.workers import LogLine, Worker
from headrace.store.errors import DATABASE_AWAY
from headrace.store.logs import StoredLine
from headrace.store.runs import ClaimedRun, NewOutput
from headrace.worker.protocol import Failure, Outcome, Output, OutputRef, Result

T = TypeVar("T")

NO_USE_IN_TRYING_AGAIN = frozenset({"source", "arguments"})
"""Kinds of failure that the same source will show every time."""

GRACE_SECONDS = 5.0
"""How long a block may take to end by itself after SIGTERM."""

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
    worker: Worker | None
    started_at: datetime
    error: Mapping[str, Any] | None = None
    outputs: tuple[NewOutput, ...] = ()
    result_outputs: tuple[Output, ...] = ()
    wait: float = 0.0

    @property
    def worker_pid(self) -> int | None:
        return None if self.worker is None else self.worker.pid


@dataclass
class AttemptRunner:
    """Runs the attempts of one run's blocks."""

    run: ClaimedRun
    pipeline: Pipeline
    project: Path
    shelf: Shelf
    logs: LogWriter
    clock: Clock
    _scopes: dict[str, anyio.CancelScope] = field(default_factory=dict)
    _lines: dict[tuple[str, int], int] = field(default_factory=dict)
    _variables: Mapping[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        self._variables = run_variables(self.pipeline, self.run)

    def stop(self, block: str) -> None:
        """Stop a block's attempt under way; its worker's whole process group goes."""
        if scope := self._scopes.get(block):
            scope.cancel()

    async def attempt(self, block: Block, attempt: int, worker: Worker) -> Ending:
        """Run one attempt to its end; never raises for what the block does."""
        started_at = datetime.now(UTC)
        ending: Ending | None = None
        with anyio.CancelScope() as scope:
            self._scopes[block.uuid] = scope
            ending = await self._called(block, attempt, worker, started_at)
        del self._scopes[block.uuid]
        if ending is None:
            error = {"kind": "stopped", "type": "", "message": "the block was stopped", "text": ""}
            return Ending(block.uuid, BlockOutcome.STOPPED, worker, started_at, error)
        return ending

    async def _called(self, block: Block, attempt: int, worker: Worker, started_at: datetime) -> Ending:
        call = block_call(
            block,
            self.pipeline,
            project=self.project,
            run=self.run.id,
            attempt=attempt,
            refs=await self._inputs(block.upstream),
            variables=self._variables,
            output_folder=str(self.shelf.folder),
        )
        result = await worker.call(
            call, on_log=self._logger(block.uuid, attempt), timeout=block.timeout, grace=GRACE_SECONDS
        )
        if result.outcome is not Outcome.COMPLETED:
            return self._without_outputs(block, worker, started_at, result)
        outputs = await self._patiently(lambda: self.shelf.store(block.uuid, attempt, result.outputs))
        return Ending(block.uuid, BlockOutcome.COMPLETED, worker, started_at, None, outputs, tuple(result.outputs))

    def _without_outputs(self, block: Block, worker: Worker, started_at: datetime, result: Result) -> Ending:
        if result.outcome in OUTCOMES:
            return Ending(block.uuid, OUTCOMES[result.outcome], worker, started_at, wait=result.wait or 0.0)
        failure = result.failure
        error = error_value(failure)
        refused = failure is not None and failure.kind in NO_USE_IN_TRYING_AGAIN
        outcome = BlockOutcome.REFUSED if refused else BlockOutcome.FAILED
        return Ending(block.uuid, outcome, worker, started_at, error)

    async def _inputs(self, upstream: Sequence[str]) -> Mapping[str, tuple[OutputRef, ...]]:
        if not upstream:
            return {}
        return await self._patiently(lambda: self.shelf.refs(upstream))

    async def _patiently(self, work: Callable[[], Awaitable[T]]) -> T:
        """Do work on the database, again and again while it is away: the block's result is too dear to drop."""
        pause = 0.05
        while True:
            try:
                return await work()
            except DATABASE_AWAY:
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
        refs = await self._inputs((parent.uuid,)) if status is BlockStatus.COMPLETED else {parent.uuid: ()}
        call = callback_call(
            callback,
            parent,
            self.pipeline,
            project=self.project,
            run=self.run.id,
            outcome=CALLBACK_WORDS[status],
            error=(error or {}).get("text") or (error or {}).get("message"),
            refs=refs[parent.uuid],
            variables=self._variables,
            output_folder=str(self.shelf.folder),
        )
        logger = self._logger(callback.uuid, 1)
        result = await worker.call(call, on_log=logger, timeout=callback.timeout, grace=GRACE_SECONDS)
        if result.failure is not None:
            told = result.failure.text or result.failure.message
            logger(LogLine(0, "log", "ERROR", f"callback {callback.uuid} failed: {told}", datetime.now(UTC)))


def error_value(failure: Failure | None) -> Mapping[str, Any]:
    """A failure as it is stored and shown."""
    if failure is None:
        return {"kind": "unknown", "type": "", "message": "the worker gave no reason", "text": "", "traceback": []}
    value: dict[str, Any] = msgspec.to_builtins(failure)
    return value
