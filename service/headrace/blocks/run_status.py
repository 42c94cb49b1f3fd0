"""What a block or a sensor may ask about runs of other pipelines."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any

from headrace.blocks.asking import ask
from headrace.domain.errors import HeadraceError
from headrace.domain.statuses import BlockStatus, RunStatus

_RUN_FAILED = (RunStatus.FAILED, RunStatus.CANCELLED)
_BLOCK_FAILED = (BlockStatus.FAILED, BlockStatus.CANCELLED, BlockStatus.UPSTREAM_FAILED)


class UpstreamFailed(HeadraceError):
    """The run that a sensor waits for will never complete."""

    code = "upstream-run-failed"


def check_status(
    pipeline_uuid: str,
    execution_date: datetime.datetime,
    repo_path: str | None = None,
    block_uuid: str | None = None,
    hours: float = 24,
) -> bool:
    """Whether another pipeline's run (or a block of it) for this time has completed. Raises UpstreamFailed.

    It is the newest run whose execution_date lies at most `hours` before `execution_date` and not after it; false while
    there is none. A run that failed and was retried is what its retry is.
    """
    run = ask(
        "run_status", pipeline=pipeline_uuid, execution_date=execution_date.isoformat(), hours=hours, block=block_uuid
    )
    if run is None:
        return False
    failed = _RUN_FAILED if block_uuid is None else _BLOCK_FAILED
    if run["status"] in failed:
        what = f"Run {run['run']} of {pipeline_uuid}" + (f", block {block_uuid}," if block_uuid else "")
        raise UpstreamFailed(
            f"{what} ended as {run['status']}.", remedy=f"`headrace retry {run['run']}` runs it again."
        )
    return bool(run["status"] == "completed")


def completed_runs(pipeline: str, since: datetime.datetime | None) -> list[Mapping[str, Any]]:
    """The runs of a pipeline that completed, from `since` on: run, execution_date and finished_at in ISO 8601."""
    runs: list[Mapping[str, Any]] = ask(
        "completed_runs", pipeline=pipeline, since=None if since is None else since.isoformat()
    )
    return runs
