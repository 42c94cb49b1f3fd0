"""The transition function: what each fact does to a run. Pure; the engine records its result and carries it out."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from headrace.domain.errors import IllegalTransition
from headrace.domain.pipeline import Pipeline
from headrace.domain.run import (
    Begun,
    BlockOutcome,
    BlockState,
    CallBack,
    CalledBack,
    CancelAsked,
    Command,
    Ended,
    Ending,
    EndRun,
    Enqueue,
    Fact,
    RunState,
    RunTimedOut,
    Started,
    Step,
    Stop,
    TakenOver,
)
from headrace.domain.statuses import BLOCK_MOVES, BLOCK_TERMINAL, RUN_MOVES, RUN_TERMINAL, BlockStatus, RunStatus

CALLED_BACK = frozenset({BlockStatus.COMPLETED, BlockStatus.FAILED, BlockStatus.CANCELLED})
"""Ends of a started block that its callbacks hear of."""


def advance(run: RunState, fact: Fact) -> Step:
    """Tell what `fact` does to `run`: its new state, the blocks that changed, the commands to carry out.

    Raises IllegalTransition when the fact cannot be true of this run, naming the block and both states. The order of
    facts that happened at the same time does not matter for the run's final status; a block below both a failed one
    and one left out by a condition ends as the first of the two makes it.
    """
    if run.status in RUN_TERMINAL:
        raise IllegalTransition(f"the run has ended ({run.status}) and can take in no {type(fact).__name__}")
    draft = _Draft(run)
    match fact:
        case Begun():
            draft.begin()
        case TakenOver():
            draft.take_over()
        case Started(block):
            draft.start(block)
        case Ended():
            draft.end(fact)
        case CalledBack(block):
            draft.called_back(block)
        case CancelAsked():
            draft.bring_to_end(Ending.CANCELLED)
        case RunTimedOut():
            draft.bring_to_end(Ending.TIMED_OUT)
    return draft.step()


@dataclass
class _Draft:
    """The next state of a run while it is worked out; lives for one call of `advance`."""

    run: RunState
    blocks: dict[str, BlockState] = field(init=False)
    changed: dict[str, None] = field(default_factory=dict)
    commands: list[Command] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.blocks = dict(self.run.blocks)

    @property
    def pipeline(self) -> Pipeline:
        return self.run.pipeline

    def step(self) -> Step:
        run = self._ended(RunState(self.run.pipeline, self.run.status, self.run.ending, self.blocks))
        return Step(run, tuple(self.changed), tuple(self.commands))

    def _ended(self, run: RunState) -> RunState:
        # What has just changed is looked at first: most often it tells that the run goes on.
        if run.status is not RunStatus.RUNNING or not all(self.blocks[uuid].settled for uuid in reversed(self.changed)):
            return run
        if not run.settled:
            return run
        status = _final_status(run)
        self.commands.append(EndRun(status))
        return replace(run, status=status)

    def begin(self) -> None:
        if RunStatus.RUNNING not in RUN_MOVES[self.run.status]:
            raise IllegalTransition(f"a run that is {self.run.status} cannot begin")
        self.run = replace(self.run, status=RunStatus.RUNNING)
        self._enqueue_ready(self.blocks)

    def take_over(self) -> None:
        if self.run.status is RunStatus.INITIAL:
            self.begin()
            return
        for uuid, state in list(self.blocks.items()):
            if state.callbacks_due:
                self.commands.append(CallBack(uuid))
            if state.status is BlockStatus.RUNNING:
                self._lose_attempt(uuid, state)
            elif state.status is BlockStatus.QUEUED:
                self.commands.append(Enqueue(uuid, state.due))

    def _lose_attempt(self, uuid: str, state: BlockState) -> None:
        if self.run.ending is not None:
            self._move(uuid, BlockStatus.CANCELLED)
            return
        self._move(uuid, BlockStatus.QUEUED, due=None, waiting=False)
        self.commands.append(Enqueue(uuid))

    def start(self, uuid: str) -> None:
        state = self.blocks[uuid]
        attempt = state.attempt if state.waiting else state.attempt + 1
        self._move(uuid, BlockStatus.RUNNING, attempt=attempt, due=None, waiting=False)

    def end(self, fact: Ended) -> None:
        state = self.blocks[fact.block]
        if state.status is not BlockStatus.RUNNING or state.attempt != fact.attempt:
            raise IllegalTransition(
                f"block {fact.block}: attempt {fact.attempt} cannot end, "
                f"the block is {state.status} at attempt {state.attempt}"
            )
        match fact.outcome:
            case BlockOutcome.COMPLETED:
                self._finish(fact.block, BlockStatus.COMPLETED)
                self._enqueue_ready(self.pipeline.downstream[fact.block])
            case BlockOutcome.CONDITION_FALSE:
                self._move(fact.block, BlockStatus.CONDITION_FAILED)
                self._settle_descendants(fact.block, BlockStatus.CONDITION_FAILED)
            case BlockOutcome.WAITING:
                self._wait(fact, state)
            case BlockOutcome.STOPPED:
                self._stopped(fact.block)
            case BlockOutcome.FAILED | BlockOutcome.REFUSED:
                self._failed(fact, state)

    def _wait(self, fact: Ended, state: BlockState) -> None:
        if self.run.ending is not None:
            self._finish(fact.block, BlockStatus.CANCELLED)
            return
        self._requeue(fact.block, fact.now + fact.wait, waiting=True)

    def _stopped(self, uuid: str) -> None:
        if self.run.ending is None:
            raise IllegalTransition(f"block {uuid} was stopped while its run was not being ended")
        self._finish(uuid, BlockStatus.CANCELLED)

    def _failed(self, fact: Ended, state: BlockState) -> None:
        failures = state.failures + 1
        policy = self.pipeline.by_uuid[fact.block].retry
        again = fact.outcome is BlockOutcome.FAILED and policy.allows(failures) and self.run.ending is None
        if again:
            self._requeue(fact.block, fact.now + policy.wait(failures, fact.chance), failures=failures)
            return
        self._finish(fact.block, BlockStatus.FAILED, failures=failures)
        self._settle_descendants(fact.block, BlockStatus.UPSTREAM_FAILED)
        if not self.pipeline.allow_blocks_to_fail and self.run.ending is None:
            self.bring_to_end(Ending.FAILED)

    def called_back(self, uuid: str) -> None:
        state = self.blocks[uuid]
        if not state.callbacks_due:
            raise IllegalTransition(f"block {uuid} has no callbacks due")
        self._set(uuid, replace(state, callbacks_due=False))

    def bring_to_end(self, ending: Ending) -> None:
        """Stop what runs and drop what waits; a reason given first stays."""
        if self.run.ending is None:
            self.run = replace(self.run, ending=ending)
        if self.run.status is RunStatus.INITIAL:
            self.run = replace(self.run, status=RunStatus.RUNNING)
        for uuid, state in list(self.blocks.items()):
            if state.status is BlockStatus.RUNNING:
                self.commands.append(Stop(uuid))
            elif state.status not in BLOCK_TERMINAL:
                self._move(uuid, BlockStatus.CANCELLED, due=None)

    def _enqueue_ready(self, uuids: Iterable[str]) -> None:
        if self.run.ending is not None:
            return
        for uuid in uuids:
            if self.blocks[uuid].status is BlockStatus.INITIAL and self._ready(uuid):
                self._requeue(uuid, None)

    def _ready(self, uuid: str) -> bool:
        upstream = self.pipeline.by_uuid[uuid].upstream
        return all(self.blocks[above].status is BlockStatus.COMPLETED for above in upstream)

    def _requeue(self, uuid: str, due: float | None, *, failures: int | None = None, waiting: bool = False) -> None:
        count = self.blocks[uuid].failures if failures is None else failures
        self._move(uuid, BlockStatus.QUEUED, due=due, failures=count, waiting=waiting)
        self.commands.append(Enqueue(uuid, due))

    def _finish(self, uuid: str, status: BlockStatus, *, failures: int | None = None) -> None:
        count = self.blocks[uuid].failures if failures is None else failures
        due = status in CALLED_BACK and bool(self.pipeline.callbacks_of(uuid))
        self._move(uuid, status, failures=count, callbacks_due=due)
        if due:
            self.commands.append(CallBack(uuid))

    def _settle_descendants(self, uuid: str, status: BlockStatus) -> None:
        for below in self.pipeline.descendants(uuid):
            if self.blocks[below].status is BlockStatus.INITIAL:
                self._move(below, status)

    def _move(
        self,
        uuid: str,
        status: BlockStatus,
        *,
        attempt: int | None = None,
        failures: int | None = None,
        due: float | None = None,
        waiting: bool = False,
        callbacks_due: bool = False,
    ) -> None:
        state = self.blocks[uuid]
        if status not in BLOCK_MOVES[state.status]:
            raise IllegalTransition(f"block {uuid} cannot move from {state.status} to {status}")
        self._set(
            uuid,
            BlockState(
                status,
                attempt=state.attempt if attempt is None else attempt,
                failures=state.failures if failures is None else failures,
                due=due,
                waiting=waiting,
                callbacks_due=callbacks_due,
            ),
        )

    def _set(self, uuid: str, state: BlockState) -> None:
        self.blocks[uuid] = state
        self.changed[uuid] = None


def _final_status(run: RunState) -> RunStatus:
    if run.ending is Ending.CANCELLED:
        return RunStatus.CANCELLED
    if run.ending is not None:
        return RunStatus.FAILED
    failed = any(state.status is BlockStatus.FAILED for state in run.blocks.values())
    return RunStatus.FAILED if failed else RunStatus.COMPLETED
