"""How late the service's event loop is: measured all the time, and told with a stack when something holds it up."""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from types import FrameType

log = logging.getLogger(__name__)


def _unobserved(seconds: float) -> None:
    """Where nobody gathers the lags."""


@dataclass
class LoopLag:
    """Measures the lag every `interval` seconds; a thread looks whether the loop stands still for `alarm` seconds."""

    observe: Callable[[float], None] = _unobserved
    interval: float = 0.1
    alarm: float = 1.0
    latest: float = 0.0
    """The last measured lag, seconds."""
    _turns: int = 0
    _stopped: threading.Event = field(default_factory=threading.Event)

    async def run(self) -> None:
        """Measure until cancelled."""
        loop, thread = asyncio.get_running_loop(), threading.get_ident()
        watch = threading.Thread(target=self._watch, args=(thread,), name="headrace-loop-lag", daemon=True)
        watch.start()
        try:
            while True:
                due = loop.time() + self.interval
                await asyncio.sleep(self.interval)
                self.latest = max(0.0, loop.time() - due)
                self._turns += 1
                self.observe(self.latest)
        finally:
            self._stopped.set()

    def _watch(self, thread: int) -> None:
        """In a thread of its own: once for each standstill, log where the loop stands."""
        seen, told = -1, False
        while not self._stopped.wait(self.alarm):
            if self._turns != seen:
                seen, told = self._turns, False
            elif not told:
                told = True
                log.error("the event loop has stood still for %.1f s:\n%s", self.alarm, _stack(thread))


def _stack(thread: int) -> str:
    frame: FrameType | None = sys._current_frames().get(thread)
    return "".join(traceback.format_stack(frame)) if frame is not None else "its thread is gone"
