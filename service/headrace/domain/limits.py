"""How many runs may be active at once, and which of those that wait come next. Pure: the counts are handed in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Gate:
    """A place that at most `cap` active runs may have passed. All runs that name the same gate share it."""

    name: str
    cap: int


@dataclass(frozen=True, slots=True)
class RunLimits:
    """Limits over all runs of a pipeline, whatever the number of services; None for no limit."""

    project: int | None = None
    """Active runs of all pipelines of the project."""
    runs: int | None = None
    """Active runs of the pipeline."""
    per_trigger: int | None = None
    """Active runs of one trigger, unless the trigger says otherwise."""
    key: str | None = None
    """A template over the run's variables; runs for which it gives the same text share the limit `per_key`."""
    per_key: int = 1
    skip: bool = False
    """Whether an event makes no run, instead of one that waits, while its trigger's limit is reached."""


NO_RUN_LIMITS = RunLimits()


@dataclass(frozen=True, slots=True)
class Candidate:
    """A run that waits to be admitted through its gates."""

    run: int
    gates: tuple[Gate, ...]


@dataclass(frozen=True, slots=True)
class Admissions:
    """Which of the candidates may start, and at which full gate each other one waits."""

    admitted: tuple[Candidate, ...]
    parked: Mapping[int, str]
    """Run to the gate that it waits at."""


def gates_of(
    project_id: int,
    pipeline: str,
    limits: RunLimits,
    *,
    key: str | None = None,
    trigger: int | None = None,
    trigger_cap: int | None = None,
) -> tuple[Gate, ...]:
    """The gates of a run; `key` is what its pipeline's key template gave, `trigger_cap` the trigger's own limit."""
    of_trigger = trigger_cap if trigger_cap is not None else limits.per_trigger
    gates = [
        (f"project:{project_id}", limits.project),
        (f"pipeline:{project_id}/{pipeline}", limits.runs),
        (f"trigger:{trigger}", None if trigger is None else of_trigger),
        (f"key:{project_id}/{pipeline}/{key}", limits.per_key if key else None),
    ]
    return tuple(Gate(name, cap) for name, cap in gates if cap is not None)


def cap_of(
    gate: str, project_id: int, pipeline: str, limits: RunLimits, trigger: int | None, trigger_cap: int | None
) -> int | None:
    """The cap that a run of `pipeline` would have now at the gate of this name; None for no such gate."""
    key = gate.removeprefix(f"key:{project_id}/{pipeline}/") if limits.key is not None else None
    gates = gates_of(project_id, pipeline, limits, key=key, trigger=trigger, trigger_cap=trigger_cap)
    return next((each.cap for each in gates if each.name == gate), None)


def admit(candidates: Sequence[Candidate], active: Mapping[str, int]) -> Admissions:
    """Admit candidates in their order while each of their gates has room; `active` counts those admitted before."""
    counts = dict(active)
    admitted: list[Candidate] = []
    parked: dict[int, str] = {}
    for candidate in candidates:
        full = next((gate.name for gate in candidate.gates if counts.get(gate.name, 0) >= gate.cap), None)
        if full is not None:
            parked[candidate.run] = full
            continue
        admitted.append(candidate)
        for gate in candidate.gates:
            counts[gate.name] = counts.get(gate.name, 0) + 1
    return Admissions(tuple(admitted), parked)
