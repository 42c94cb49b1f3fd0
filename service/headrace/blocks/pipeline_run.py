"""The run as callbacks and conditions see it: their keyword argument `pipeline_run`."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class PipelineRun:
    """The facts of a run. `variables` are the keyword arguments that its blocks get."""

    id: int | None
    pipeline_uuid: str | None
    execution_date: datetime.datetime | None
    execution_partition: str | None
    variables: Mapping[str, Any]


def with_run(kwargs: Mapping[str, Any], parent: str | None) -> dict[str, Any]:
    """A block's keyword arguments, and with them the run and the block that is guarded or called back for."""
    run = PipelineRun(
        kwargs.get("pipeline_run_id"),
        kwargs.get("pipeline_uuid"),
        kwargs.get("execution_date"),
        kwargs.get("execution_partition"),
        kwargs,
    )
    return {**kwargs, "pipeline_run": run, "parent_block_uuid": parent}
