"""What people see of runs: plain frozen values, the same for the command line and for the API."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any


@dataclass(frozen=True, slots=True)
class BlockRunView:
    """One block of a run. `reason` tells why it waits; `rows` is the largest row count among its outputs."""

    uuid: str
    type: str
    upstream: tuple[str, ...]
    status: str
    attempt: int
    queued_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None
    reason: str | None
    error: Mapping[str, Any] | None
    rows: int | None
    outputs: int


@dataclass(frozen=True, slots=True)
class RunView:
    """One run, its blocks in topological order."""

    id: int
    pipeline: str
    status: str
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    reason: str | None
    error: Mapping[str, Any] | None
    variables: Mapping[str, Any]
    blocks: tuple[BlockRunView, ...]
    step: int
    """How many steps of it were recorded: it grows with every change."""
    project: str
    due: datetime | None = None
    """Until when its trigger's `sla` wants it done."""
    passed_sla: bool = False
    """Whether it was not, or is not."""


@dataclass(frozen=True, slots=True)
class RunEnd:
    """How a run ended."""

    status: str
    reason: str | None


@dataclass(frozen=True, slots=True)
class RunSummary:
    """One line of a list of runs. `reason` tells why it ended as it did, or what it waits for."""

    id: int
    pipeline: str
    status: str
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    reason: str | None
    blocks_done: int
    blocks_total: int
    project: str


@dataclass(frozen=True, slots=True)
class LogLineView:
    """One line that a block printed or logged."""

    block: str
    attempt: int
    seq: int
    at: datetime
    stream: str
    level: str
    text: str


@dataclass(frozen=True, slots=True)
class OutputView:
    """The facts of one of a block's `outputs`; `preview` is JSON: its first rows and types, or its text."""

    run: int
    block: str
    index: int
    outputs: int
    codec: str
    bytes: int
    rows: int | None
    preview: Any


@dataclass(frozen=True, slots=True)
class TestReport:
    """What a block's tests said of its outputs of run `run`; None where it has never completed."""

    __test__ = False

    block: str
    run: int | None
    passed: int
    failed: int
    failure: str | None

    @property
    def is_bad(self) -> bool:
        """Whether a test failed, or the tests could not be run."""
        return self.run is not None and self.failure is not None


@dataclass(frozen=True, slots=True)
class TableView:
    """A table that a run's block wrote; `profile` names the connection it used, where its source tells one."""

    block: str
    table: str
    profile: str | None
