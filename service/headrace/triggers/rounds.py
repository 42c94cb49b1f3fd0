"""The life of a part that looks for what is to be done: when it is woken, when more is due, and every second anyway."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import anyio

from headrace.store.errors import DATABASE_AWAY

log = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
"""How often it is looked even if nothing was heard: notice of a change may be lost, the change itself is not."""
NOTHING_DUE = float("inf")


@dataclass
class Rounds:
    """Looks for `what` until cancelled; a database that is away ends no round."""

    what: str
    seconds: float = LOOK_SECONDS
    """The longest time between two looks."""
    _woken: asyncio.Event = field(default_factory=asyncio.Event)

    def wake(self) -> None:
        """Look at once, or once more after the look that is under way."""
        self._woken.set()

    async def run(self, look: Callable[[], Awaitable[float]]) -> None:
        """Serve until cancelled. `look` tells in how many seconds more is due, NOTHING_DUE for none known."""
        while True:
            self._woken.clear()
            pause = self.seconds
            try:
                pause = min(pause, await look())
            except DATABASE_AWAY as error:
                log.warning("%s wait for the database (%s)", self.what, error)
            with anyio.move_on_after(pause):
                await self._woken.wait()
