"""The two state machines, a sentence for each state. SQL CHECKs in `migrations/` mirror them."""

from __future__ import annotations

from enum import StrEnum


class _Status(StrEnum):
    """A state; found in sets and tables as fast as its text is, which `Enum` itself is not."""

    __hash__ = str.__hash__


class RunStatus(_Status):
    """The states of a pipeline's run."""

    INITIAL = "initial"
    """The run is recorded and waits for a service to claim it."""
    RUNNING = "running"
    """A service drives the run under a lease."""
    COMPLETED = "completed"
    """Every block ended well, or was left out by a condition."""
    FAILED = "failed"
    """At least one block failed for good, or the run passed its time limit."""
    CANCELLED = "cancelled"
    """Somebody stopped the run before its end."""


class BlockStatus(_Status):
    """The states of one block within one run."""

    INITIAL = "initial"
    """The block waits for its upstream blocks."""
    QUEUED = "queued"
    """Everything upstream is there; the block waits for a worker, for a retry's time or for a sensor's next look."""
    RUNNING = "running"
    """An attempt is under way in a worker."""
    COMPLETED = "completed"
    """The block ended well and its outputs are stored."""
    FAILED = "failed"
    """The last attempt failed and the retry policy allows no more."""
    CANCELLED = "cancelled"
    """The block was stopped, or never started, because its run was cancelled or had failed."""
    UPSTREAM_FAILED = "upstream_failed"
    """A block upstream failed, so this one can never start."""
    CONDITION_FAILED = "condition_failed"
    """A condition of this block, or of one upstream, was not met: the block is left out, the run goes on."""


RUN_TERMINAL = frozenset({RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.CANCELLED})
BLOCK_TERMINAL = frozenset(
    {
        BlockStatus.COMPLETED,
        BlockStatus.FAILED,
        BlockStatus.CANCELLED,
        BlockStatus.UPSTREAM_FAILED,
        BlockStatus.CONDITION_FAILED,
    }
)

RUN_MOVES: dict[RunStatus, frozenset[RunStatus]] = {
    RunStatus.INITIAL: frozenset({RunStatus.RUNNING, RunStatus.FAILED, RunStatus.CANCELLED}),
    RunStatus.RUNNING: RUN_TERMINAL,
    RunStatus.COMPLETED: frozenset(),
    RunStatus.FAILED: frozenset(),
    RunStatus.CANCELLED: frozenset(),
}
"""Which state a run may move to from each state."""

BLOCK_MOVES: dict[BlockStatus, frozenset[BlockStatus]] = {
    BlockStatus.INITIAL: frozenset(
        {
            BlockStatus.QUEUED,
            BlockStatus.CANCELLED,
            BlockStatus.UPSTREAM_FAILED,
            BlockStatus.CONDITION_FAILED,
        }
    ),
    BlockStatus.QUEUED: frozenset({BlockStatus.RUNNING, BlockStatus.CANCELLED}),
    BlockStatus.RUNNING: frozenset(
        {
            BlockStatus.QUEUED,
            BlockStatus.COMPLETED,
            BlockStatus.FAILED,
            BlockStatus.CANCELLED,
            BlockStatus.CONDITION_FAILED,
        }
    ),
} | {status: frozenset() for status in BLOCK_TERMINAL}
"""Which state a block run may move to from each state."""
