"""Workers for sensors' looks, from the pools that blocks use but apart from their limits."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from headrace.engine.workers import Worker, WorkerKey, WorkerPool

_VERSION = "sensors"


@dataclass(frozen=True)
class LookWorkers:
    """Lends workers for one look each, from the pool of the project's folder; polled sensors use the same in turn."""

    pools: Mapping[Path, WorkerPool]

    @asynccontextmanager
    async def lend(self, project: Path) -> AsyncIterator[Worker]:
        """A worker bound to a project. Raises WorkersUnavailable."""
        pool = self.pools[project]
        worker = await pool.acquire_apart(WorkerKey(str(project), _VERSION, apart=True))
        try:
            yield worker
        finally:
            pool.release(worker)
