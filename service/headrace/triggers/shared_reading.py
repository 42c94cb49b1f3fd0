"""Reads a pipeline once for all who ask at the same time, each as its files were when it asked, or later."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from headrace.domain.pipeline import Pipeline

ReadPipeline = Callable[[str], Pipeline]
"""Gives a pipeline of one project as its files are now; raises ProjectFault."""


@dataclass
class _Read:
    """One read, which begins after all who share it have asked; it has neither outcome where it was cancelled."""

    ended: asyncio.Event = field(default_factory=asyncio.Event)
    given: Pipeline | None = None
    fault: Exception | None = None


@dataclass
class SharedReads:
    """The reads of one pipeline: one at a time, in a thread, and one more for all who ask meanwhile."""

    reader: ReadPipeline
    pipeline: str
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    _next: _Read | None = None
    """The read that has not begun."""

    async def read(self) -> Pipeline:
        """The pipeline as its files are now. Raises ProjectFault."""
        while (joined := self._next) is not None:
            await joined.ended.wait()
            if joined.fault is not None:
                raise joined.fault
            if joined.given is not None:
                return joined.given
        return await self._lead()

    async def _lead(self) -> Pipeline:
        mine = self._next = _Read()
        try:
            async with self._turn:
                self._next = None
                mine.given = await asyncio.to_thread(self.reader, self.pipeline)
                return mine.given
        except Exception as error:  # all who share the read get what it met
            mine.fault = error
            raise
        finally:
            if self._next is mine:
                self._next = None
            mine.ended.set()
