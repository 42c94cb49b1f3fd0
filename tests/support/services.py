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
from typing import Any

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

DIE_AT = """
import importlib, itertools, os
module = importlib.import_module({module!r})
real, calls = getattr(module, {name!r}), itertools.count(1)

async def dying(*arguments, **options):
    last = next(calls) == {count}
    if last and {when!r} == "before":
        os.kill(os.getpid(), 9)
    answer = await real(*arguments, **options)
    if last and {when!r} == "after":
        os.kill(os.getpid(), 9)
    return answer

setattr(module, {name!r}, dying)
"""


@dataclass(frozen=True)
class Instant:
    """A moment at which a service dies: right before or after its `count`-th call of a function of ours."""

    module: str
    name: str
    when: str
    count: int = 1

    @property
    def source(self) -> str:
        """Python that makes the service die then."""
        return DIE_AT.format(module=self.module, name=self.name, when=self.when, count=self.count)

    def __str__(self) -> str:
        return f"{self.when}-{self.name}-{self.count}"


@dataclass
class ServiceProcess:
    """A service that drives every run of a project, in a process of its own."""

    process: asyncio.subprocess.Process

    @property
    def pid(self) -> int:
        return self.process.pid

    async def gone(self, seconds: float = 30) -> int:
        """Wait until it has ended by itself; its exit code."""
        return await asyncio.wait_for(self.process.wait(), seconds)

    def stop(self) -> None:
        """Ask it to stop, as a supervisor does."""
        self.process.send_signal(signal.SIGTERM)

    async def kill(self) -> None:
        """kill -9, and wait until it is gone."""
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGKILL)
        await self.process.wait()

    def pause(self) -> None:
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self.process.send_signal(signal.SIGCONT)


async def launch(
    project: Path, database_url: str, *, lease: float = 1.0, spares: int = 2, log: Path | None = None, first: str = ""
) -> ServiceProcess:
    """Start a service without waiting for it. `first` is Python that it runs before anything else."""
    environ = {**os.environ, "HEADRACE_DATABASE_URL": database_url}
    errors = open(log or project / "service.log", "ab")  # noqa: SIM115 - the process keeps it
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        first + SERVE,
        str(project),
        str(lease),
        str(spares),
        env=environ,
        stdout=asyncio.subprocess.PIPE,
        stderr=errors,
    )
    errors.close()
    return ServiceProcess(process)


async def start_service(project: Path, database_url: str, **options: Any) -> ServiceProcess:
    """Start a service and wait until it has its lease and its workers."""
    running = await launch(project, database_url, **options)
    assert running.process.stdout is not None
    line = await asyncio.wait_for(running.process.stdout.readline(), 60)
    if line.strip() != b"ready":
        log = options.get("log") or project / "service.log"
        raise AssertionError(f"the service did not start: {log.read_text()[-3000:]}")
    return running


@asynccontextmanager
async def service(project: Path, database_url: str, **options: Any) -> AsyncIterator[ServiceProcess]:
    """A service that is killed at the end of the block."""
    running = await start_service(project, database_url, **options)
    try:
        yield running
    finally:
        await running.kill()
