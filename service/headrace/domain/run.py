"""A run as a value: what `advance` reads and gives back, and the facts and commands around it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType

from headrace.domain.pipeline import Pipeline
from headrace.domain.statuses import BLOCK_TERMINAL, BlockStatus, RunStatus


class Ending(StrEnum):
    """Why a run is being brought to an end before all of its blocks have ended by themselves."""

    CANCELLED = "cancelled"
    """Somebody asked for it."""
    FAILED = "failed"
    """A block failed for good and the pipeline does not allow that."""
    TIMED_OUT = "timed_out"
    """The run passed its time limit."""


class BlockOutcome(StrEnum):
    """How an attempt ended, as `advance` needs to know it."""

    COMPLETED = "completed"
    """Its outputs are written and its tests passed."""
    FAILED = "failed"
    """It may be tried again, if the policy allows."""
    REFUSED = "refused"
    """It failed in a way that trying again cannot mend: its source does not compile, its signature is wrong."""
    CONDITION_FALSE = "condition_false"
    """One of its conditions was not met."""
    WAITING = "waiting"
    """A sensor saw nothing yet."""
    STOPPED = "stopped"
    """It was stopped by a command of ours."""


@dataclass(frozen=True, slots=True)
class BlockState:
    """Where one block of a run stands."""

    status: BlockStatus = BlockStatus.INITIAL
    attempt: int = 0
    """The number of the newest attempt that started; 0 before the first."""
    failures: int = 0
    """Attempts that failed by the block's own fault; a lost worker process counts, a lost service does not."""
    due: float | None = None
    """For a queued block: the time (seconds since the epoch) before which it must not start."""
    waiting: bool = False
    """A sensor between two looks: its next start goes on with the same attempt."""
    callbacks_due: bool = False
    """The block has ended and its callbacks have not been called yet."""

    @property
    def settled(self) -> bool:
        """Whether the block has ended and no callback is due."""
        return self.status in BLOCK_TERMINAL and not self.callbacks_due

    @property
    def under_way(self) -> bool:
        """Whether an attempt has started and not ended: a sensor's looks are one attempt."""
        return self.status is BlockStatus.RUNNING or self.waiting


@dataclass(frozen=True, slots=True)
class RunState:
    """Where a run stands. `blocks` has a state for each block of the pipeline."""

    pipeline: Pipeline
    status: RunStatus = RunStatus.INITIAL
    ending: Ending | None = None
    blocks: Mapping[str, BlockState] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def settled(self) -> bool:
        """Whether every block has ended and no callback is due."""
        return all(state.settled for state in self.blocks.values())


def fresh_run(pipeline: Pipeline, kept: frozenset[str] = frozenset()) -> RunState:
    """The state of a run before anything happened; blocks in `kept` are completed already, by an earlier run."""
    done, new = BlockState(BlockStatus.COMPLETED), BlockState()
    return RunState(pipeline, blocks={block.uuid: done if block.uuid in kept else new for block in pipeline.blocks})


@dataclass(frozen=True, slots=True)
class Begun:
    """A service claimed the run for the first time."""


@dataclass(frozen=True, slots=True)
class TakenOver:
    """A service claimed the run after another one was lost: what was running has to run again."""


@dataclass(frozen=True, slots=True)
class Started:
    """A worker was given to a queued block."""

    block: str


@dataclass(frozen=True, slots=True)
class Ended:
    """An attempt ended at `now`. `chance` (0 to 1) spreads a retry's delay; `wait` (seconds) is a sensor's."""

    block: str
    attempt: int
    outcome: BlockOutcome
    now: float = 0.0
    chance: float = 0.5
    wait: float = 0.0


@dataclass(frozen=True, slots=True)
class CalledBack:
    """The callbacks of an ended block have been called."""

    block: str


@dataclass(frozen=True, slots=True)
class CancelAsked:
    """Somebody asked for the run to be cancelled."""


@dataclass(frozen=True, slots=True)
class RunTimedOut:
    """The run passed its time limit."""


Fact = Begun | TakenOver | Started | Ended | CalledBack | CancelAsked | RunTimedOut


@dataclass(frozen=True, slots=True)
class Enqueue:
    """The block waits to be started, not before `due` where that is given."""

    block: str
    due: float | None = None


@dataclass(frozen=True, slots=True)
class Stop:
    """The block's attempt under way must be stopped; an Ended fact will follow."""

    block: str


@dataclass(frozen=True, slots=True)
class CallBack:
    """The block's callbacks must be called; a CalledBack fact will follow."""

    block: str


@dataclass(frozen=True, slots=True)
class EndRun:
    """The run has ended with this status; nothing follows."""

    status: RunStatus


Command = Enqueue | Stop | CallBack | EndRun


@dataclass(frozen=True, slots=True)
class Step:
    """What a fact does to a run: the new state, the blocks whose state changed, and what must be done."""

    run: RunState
    changed: tuple[str, ...] = ()
    commands: tuple[Command, ...] = ()
