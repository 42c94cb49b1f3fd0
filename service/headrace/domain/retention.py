"""How long what a project recorded is kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Retention:
    """Ages in seconds, counted from the end of a run or the arrival of an event; None keeps for ever."""

    runs: float | None = None
    """A run with everything that belongs to it."""
    outputs: float | None = None
    logs: float | None = None
    events: float | None = None
    output_bytes: int | None = None
    """Beyond so many bytes of outputs, those of the runs that ended first go."""


@dataclass(frozen=True, slots=True)
class ProjectRetention:
    """A project's own retention, and that of pipelines that say otherwise."""

    project: Retention = Retention()
    pipelines: Mapping[str, Retention] = field(default_factory=dict)

    def of(self, pipeline: str) -> Retention:
        """What holds for a pipeline."""
        return self.pipelines.get(pipeline, self.project)

    @property
    def longest_logs(self) -> float | None:
        """The age beyond which no pipeline keeps a line; None where some keep theirs for ever."""
        ages = [retention.logs for retention in (self.project, *self.pipelines.values())]
        known = [age for age in ages if age is not None]
        return max(known) if len(known) == len(ages) else None
