"""Keeps a part of the service going: what it does wrong is told, and it starts again."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

import anyio

log = logging.getLogger(__name__)

PAUSES = (0.1, 0.5, 2.0, 10.0)
"""Seconds before a part starts again, each time longer."""
CALM_SECONDS = 60.0
"""A part that went so long without a fault counts as well again."""


async def supervised(name: str, run: Callable[[], Awaitable[None]]) -> None:
    """Run a part until cancelled, again after whatever it raises."""
    faults = 0
    while True:
        began = anyio.current_time()
        try:
            await run()
        except Exception:  # a boundary: one part's fault must not end the others
            log.exception("%s failed and starts again", name)
        else:
            log.error("%s ended and starts again", name)
        faults = 0 if anyio.current_time() - began > CALM_SECONDS else faults
        await anyio.sleep(PAUSES[min(faults, len(PAUSES) - 1)])
        faults += 1
