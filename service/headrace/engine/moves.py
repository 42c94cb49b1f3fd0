"""How a block's state is recorded, and the reason that is told for each wait."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from headrace.domain.pipeline import Pipeline
from headrace.domain.run import BlockState, Ending, RunState
from headrace.domain.statuses import BlockStatus, RunStatus
from headrace.engine.calls import at
from headrace.store.runs import BlockMove


def block_move(
    pipeline: Pipeline, uuid: str, state: BlockState, error: Mapping[str, Any] | None, worker_pid: int | None
) -> BlockMove:
    """The record of a block's new state, with the reason of its wait, or of its being left out."""
    left_out = (error or {}).get("message") if state.status is BlockStatus.CONDITION_FAILED else None
    return BlockMove(
        uuid,
        state.status,
        state.attempt,
        state.failures,
        state.waiting,
        state.callbacks_due,
        at(state.due),
        left_out or wait_reason(pipeline, uuid, state),
        None if left_out else error,
        worker_pid,
    )


def wait_reason(pipeline: Pipeline, uuid: str, state: BlockState) -> str | None:
    """Why a block that is queued has not started."""
    if state.status is not BlockStatus.QUEUED:
        return None
    if state.waiting:
        return f"the sensor has seen nothing yet; it looks again at {_time(state.due)}"
    if state.due is not None:
        most = pipeline.by_uuid[uuid].retry.count
        return f"attempt {state.attempt} failed; retry {state.failures} of {most} at {_time(state.due)}"
    slots = pipeline.slots_of(uuid)
    told = [f"a slot of {_pools_told(slots)}"] if slots else []
    per_run = pipeline.limits.per_run
    told.append("a free worker" if per_run is None else f"a free worker (at most {per_run} blocks of a run at once)")
    return f"waiting for {' and '.join(told)}"


def _pools_told(slots: Mapping[str, int]) -> str:
    return ", ".join(f"pool {name}" if count == 1 else f"pool {name} ({count} slots)" for name, count in slots.items())


def _time(due: float | None) -> str:
    moment = at(due)
    return moment.isoformat(timespec="seconds") if moment else "once"


def run_reason(state: RunState, errors: Mapping[str, Any]) -> str | None:
    """Why a run ended as it did, or is being ended."""
    match state.ending:
        case Ending.CANCELLED:
            return "cancelled on request"
        case Ending.TIMED_OUT:
            return f"passed its time limit of {state.pipeline.timeout:g} s"
        case _:
            pass
    if not errors:
        return None
    failed = [uuid for uuid, block in state.blocks.items() if block.status is BlockStatus.FAILED]
    if not failed:
        return None
    told = (errors.get(failed[0]) or {}).get("message", "")
    more = f" (and {len(failed) - 1} more)" if len(failed) > 1 else ""
    verb = "failed" if state.status is not RunStatus.COMPLETED else "was allowed to fail"
    return clean(f"block {failed[0]} {verb}{more}: {told}"[:1000])


def clean(text: str) -> str:
    """Text as Postgres can store it: without NUL and lone surrogates."""
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode()
