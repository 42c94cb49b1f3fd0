"""The one retry policy: how often and how far apart a failed block is tried again."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often (`count`, beyond the first attempt) and how far apart (seconds) a failed block is tried again.

    The delay before retry n (from 1) is `delay * factor ** (n - 1)`, at most `cap`, then spread by `jitter`, a share
    from 0 to 1 of that delay. The cap holds for one delay, not for their sum.
    """

    count: int = 0
    delay: float = 5.0
    factor: float = 2.0
    cap: float = 60.0
    jitter: float = 0.0

    def allows(self, failures: int) -> bool:
        """Tell whether a block that failed `failures` times may be tried again."""
        return failures <= self.count

    def wait(self, failures: int, chance: float) -> float:
        """Seconds to wait after the `failures`-th failure; `chance`, from 0 to 1, is the jitter's random number."""
        base = min(self.delay * self._growth(failures - 1), self.cap)
        return max(base * (1 + self.jitter * (2 * chance - 1)), 0.0)

    def _growth(self, steps: int) -> float:
        try:
            return self.factor ** max(steps, 0)
        except OverflowError:  # beyond any cap; so large that not even 0 seconds become endless ones by it
            return sys.float_info.max

    def overlaid(self, values: Mapping[str, Any]) -> RetryPolicy:
        """This policy with those of its values replaced that `values` names (project < pipeline < block)."""
        known = {field.name: values.get(field.name, getattr(self, field.name)) for field in fields(self)}
        return RetryPolicy(**known)
