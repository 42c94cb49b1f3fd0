"""Runs of another pipeline that completed."""

from __future__ import annotations

import datetime
from typing import Any

from headrace.blocks.event import Event
from headrace.blocks.run_status import check_status, completed_runs

_LOOKED_AT_AGAIN = datetime.timedelta(minutes=10)
"""Runs may come into sight somewhat later than others that ended after them; their keys tell them apart."""


def pipeline_success(
    cursor: Any = None,
    *,
    pipeline: str,
    execution_date: datetime.datetime | None = None,
    block: str | None = None,
    hours: float = 0.0,
) -> Any:
    """Whether `pipeline` has succeeded for the same interval.

    In a pipeline it is true once the run for the same execution_date (or one up to `hours` before it) has completed,
    and fails once that one has failed; with `block` that block of it counts. For a trigger it gives an event for each
    run that completes, whose runs get the same execution_date; the cursor is the time up to which runs are known.
    """
    if execution_date is not None:
        return check_status(pipeline, execution_date, block_uuid=block, hours=hours)
    since = None if cursor is None else cursor - _LOOKED_AT_AGAIN
    runs = completed_runs(pipeline, since)
    if not runs:
        return None
    newest = max(datetime.datetime.fromisoformat(run["finished_at"]) for run in runs)
    return [_event(pipeline, run) for run in runs], newest if cursor is None else max(newest, cursor)


def _event(pipeline: str, run: Any) -> Event:
    date = datetime.datetime.fromisoformat(run["execution_date"])
    payload = {"pipeline": pipeline, "run": run["run"], "execution_date": run["execution_date"]}
    ended = datetime.datetime.fromisoformat(run["finished_at"])
    return Event(payload, f"run-{run['run']}", ended, execution_date=date)
