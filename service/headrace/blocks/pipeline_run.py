"""The run as callbacks and conditions see it: their keyword argument `pipeline_run`."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_OF_THE_BLOCK = frozenset({"configuration", "context", "logger", "retry", "block_uuid", "pipeline_uuid", "repo_path"})


@dataclass(frozen=True, slots=True)
class PipelineRun:
    """The facts of a run. `variables` are those of the run, without what a block gets beside them."""

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
        {name: value for name, value in kwargs.items() if name not in _OF_THE_BLOCK},
    )
    return {**kwargs, "pipeline_run": run, "parent_block_uuid": parent}
