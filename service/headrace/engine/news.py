"""Wakes those who watch a run when this service recorded something of it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass
class RunNews:
    """Who watches which run. Only a help: runs that another service drives must be looked at now and then."""

    _watchers: dict[int, set[asyncio.Event]] = field(default_factory=dict)

    @contextmanager
    def watching(self, run: int) -> Iterator[asyncio.Event]:
        """An event of the caller's own that is set at each change of the run; clear it before looking."""
        news = asyncio.Event()
        watchers = self._watchers.setdefault(run, set())
        watchers.add(news)
        try:
            yield news
        finally:
            watchers.discard(news)
            if not watchers and self._watchers.get(run) is watchers:
                del self._watchers[run]

    def tell(self, run: int) -> None:
        """Something of the run was recorded."""
        for news in self._watchers.get(run, ()):
            news.set()
