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
    """The record of a block's new state, with the reason of its wait."""
    return BlockMove(
        uuid,
        state.status,
        state.attempt,
        state.failures,
        state.waiting,
        state.callbacks_due,
        at(state.due),
        wait_reason(pipeline, uuid, state),
        error,
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
    limits = pipeline.limits
    if limits.per_run is not None or limits.per_pipeline is not None:
        return f"waiting for a free worker under the limits of pipeline {pipeline.uuid} ({_limits_told(pipeline)})"
    return "waiting for a free worker"


def _limits_told(pipeline: Pipeline) -> str:
    limits = pipeline.limits
    told = []
    if limits.per_run is not None:
        told.append(f"{limits.per_run} blocks a run")
    if limits.per_pipeline is not None:
        told.append(f"{limits.per_pipeline} blocks at once over all runs")
    return ", ".join(told)


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
