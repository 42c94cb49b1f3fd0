"""Wakes those who watch a run, or all runs, when this service recorded something of it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass
class RunNews:
    """Who watches which run. Only a help: runs that another service drives must be looked at now and then."""

    _watchers: dict[int | None, set[asyncio.Event]] = field(default_factory=dict)

    @contextmanager
    def watching(self, run: int | None = None, news: asyncio.Event | None = None) -> Iterator[asyncio.Event]:
        """An event of the caller's own that is set at each change of the run, or of any; clear it before looking."""
        news = news or asyncio.Event()
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
        for watched in (run, None):
            for news in self._watchers.get(watched, ()):
                news.set()
