"""Time as the engine sees it; a simulator hands in another."""

from __future__ import annotations

import time
from typing import Protocol

import anyio


class Clock(Protocol):
    """What tells the time and lets it pass."""

    def now(self) -> float:
        """Seconds since the epoch: for times that are shown or stored."""
        ...

    def monotonic(self) -> float:
        """Seconds that only ever grow: for waits."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Let `seconds` pass."""
        ...


class SystemClock:
    """The machine's own time."""

    def now(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await anyio.sleep(seconds)
