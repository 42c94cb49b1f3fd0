"""Services as processes of their own, for tests that kill them."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

SERVE = """
import asyncio, sys
from pathlib import Path
from headrace.engine.engine import EngineSettings
from headrace.service import open_headrace

async def serve():
    settings = EngineSettings(lease=float(sys.argv[2]), poll=0.1)
    async with open_headrace(Path(sys.argv[1]), claim_all=True, settings=settings, spares=int(sys.argv[3])):
        print("ready", flush=True)
        await asyncio.Event().wait()

asyncio.run(serve())
"""


@dataclass
class ServiceProcess:
    """A service that drives every run of a project, in a process of its own."""

    process: asyncio.subprocess.Process

    @property
    def pid(self) -> int:
        return self.process.pid

    async def kill(self) -> None:
        """kill -9, and wait until it is gone."""
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGKILL)
        await self.process.wait()

    def pause(self) -> None:
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self.process.send_signal(signal.SIGCONT)


async def start_service(
    project: Path, database_url: str, *, lease: float = 1.0, spares: int = 2, log: Path | None = None
) -> ServiceProcess:
    """Start a service and wait until it has its lease and its workers."""
    environ = {**os.environ, "HEADRACE_DATABASE_URL": database_url}
    errors = open(log or project / "service.log", "ab")  # noqa: SIM115 - the process keeps it
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        SERVE,
        str(project),
        str(lease),
        str(spares),
        env=environ,
        stdout=asyncio.subprocess.PIPE,
        stderr=errors,
    )
    errors.close()
    assert process.stdout is not None
    line = await asyncio.wait_for(process.stdout.readline(), 30)
    if line.strip() != b"ready":
        raise AssertionError(f"the service did not start: {(log or project / 'service.log').read_text()[-3000:]}")
    return ServiceProcess(process)


@asynccontextmanager
async def service(project: Path, database_url: str, **options) -> AsyncIterator[ServiceProcess]:
    """A service that is killed at the end of the block."""
    running = await start_service(project, database_url, **options)
    try:
        yield running
    finally:
        await running.kill()
