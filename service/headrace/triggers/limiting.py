"""What a limit of active runs that leaves events out makes of one more run."""

from __future__ import annotations

from collections.abc import Sequence

from headrace.domain.triggers import AtLimit
from headrace.store.events import TriggerLimit


def skip_reason(limit: TriggerLimit, active: Sequence[int]) -> str | None:
    """Why one more run is left out; None where it is not."""
    if limit.at_limit is not AtLimit.SKIP or len(active) < limit.most:
        return None
    listed = ", ".join(map(str, active[:5]))
    return f"{len(active)} of at most {limit.most} runs of its trigger are active (run {listed})"


def too_many(limit: TriggerLimit, active: Sequence[int]) -> Sequence[int]:
    """The active runs, given the oldest first, that must make room for one more."""
    return active[: max(len(active) - limit.most + 1, 0)]
