"""Workers for sensors' looks, from the pool that blocks use but apart from its limit."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from headrace.engine.workers import Worker, WorkerKey, WorkerPool

_VERSION = "sensors"


@dataclass(frozen=True)
class LookWorkers:
    """Lends workers for one look each; polled sensors of a project use the same ones in turn."""

    pool: WorkerPool

    @asynccontextmanager
    async def lend(self, project: Path) -> AsyncIterator[Worker]:
        """A worker bound to a project. Raises WorkersUnavailable."""
        worker = await self.pool.acquire_apart(WorkerKey(str(project), _VERSION, apart=True))
        try:
            yield worker
        finally:
            self.pool.release(worker)
