"""Time as the engine sees it; a simulator hands in another."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Protocol

import anyio

_STEADY = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)  # counts while the machine sleeps, where it can


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
        return time.clock_gettime(_STEADY)

    async def sleep(self, seconds: float) -> None:
        await anyio.sleep(seconds)


@dataclass
class DatabaseClock:
    """The database's time, told by steady seconds since it was asked once.

    Services whose machines disagree about the time agree by it, and a machine's clock that is set anew moves no retry
    and no time limit.
    """

    clock: Clock
    _ahead: float | None = None

    def agree(self, now: float, asked_at: float) -> None:
        """Take over the database's time `now`, asked for at `asked_at` of the steady clock; only the first counts."""
        if self._ahead is None:
            self._ahead = now - asked_at

    def now(self) -> float:
        return self.clock.now() if self._ahead is None else self.clock.monotonic() + self._ahead

    def monotonic(self) -> float:
        return self.clock.monotonic()

    async def sleep(self, seconds: float) -> None:
        await self.clock.sleep(seconds)
