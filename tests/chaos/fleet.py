"""The services of a storm: processes that are killed, paused and stopped, and always come back."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
STOP_SECONDS = 40.0
"""A service that was told to stop and has not ended by then is a fault; it may have to wait for Postgres."""


def address_file(door: Path) -> Path:
    """Where the service at a door writes the address of its API."""
    return door.with_suffix(".url")


@dataclass
class Berth:
    """The place of one service, and the process that is there now. The lock is held by whoever changes it."""

    door: Path
    process: asyncio.subprocess.Process | None = None
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


@dataclass
class Fleet:
    """Services of one project with one database."""

    project: Path
    folder: Path
    environ: Mapping[str, str]
    services: int
    lease: float
    faults: list[str] = field(default_factory=list)
    berths: list[Berth] = field(init=False)

    def __post_init__(self) -> None:
        self.berths = [Berth(self.folder / f"door{number}.sock") for number in range(self.services)]

    @property
    def doors(self) -> list[Path]:
        return [berth.door for berth in self.berths]

    @property
    def addresses(self) -> list[Path]:
        """Files that hold the addresses of the services' APIs; there is none where a service is down."""
        return [address_file(door) for door in self.doors]

    @property
    def log(self) -> Path:
        return self.folder / "services.log"

    def pid(self, who: int) -> int:
        """The process of a service; 0 while there is none."""
        process = self.berths[who].process
        return 0 if process is None or process.returncode is not None else process.pid

    async def start(self) -> None:
        """Start every service; none is waited for."""
        for berth in self.berths:
            await self._launch(berth)

    async def _launch(self, berth: Berth) -> None:
        with self.log.open("ab") as log:
            berth.process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "tests.chaos.served", str(self.project), str(berth.door), str(self.lease),
                env=dict(self.environ), cwd=ROOT, stdout=log, stderr=log,
            )  # fmt: skip

    async def kill(self, who: int, seconds: float) -> bool:
        """kill -9, and a new one after some seconds; whether there was one to kill."""
        berth = self.berths[who]
        if berth.lock.locked():
            return False
        async with berth.lock:
            await self._end(berth, signal.SIGKILL)
            await asyncio.sleep(seconds)
            await self._launch(berth)
        return True

    async def pause(self, who: int, seconds: float) -> bool:
        """Stop a process for some seconds; whether there was one to stop."""
        berth = self.berths[who]
        if berth.lock.locked():
            return False
        async with berth.lock:
            self._signal(berth, signal.SIGSTOP)
            await asyncio.sleep(seconds)
            self._signal(berth, signal.SIGCONT)
        return True

    async def restart(self, who: int) -> bool:
        """Tell a service to stop, wait until it has, and start the next one; whether there was one to stop."""
        berth = self.berths[who]
        if berth.lock.locked():
            return False
        async with berth.lock:
            await self._stop(berth)
            await self._launch(berth)
        return True

    async def _stop(self, berth: Berth) -> None:
        try:
            async with asyncio.timeout(STOP_SECONDS):
                await self._end(berth, signal.SIGTERM)
        except TimeoutError:
            self.faults.append(f"a service did not end within {STOP_SECONDS:.0f} s of SIGTERM")
            await self._end(berth, signal.SIGKILL)

    async def _end(self, berth: Berth, number: signal.Signals) -> None:
        if number == signal.SIGKILL:
            address_file(berth.door).unlink(missing_ok=True)  # somebody else may get its port
        self._signal(berth, number)
        if berth.process is not None:
            await berth.process.wait()
        address_file(berth.door).unlink(missing_ok=True)

    def _signal(self, berth: Berth, number: signal.Signals) -> None:
        if berth.process is None:
            return
        if berth.process.returncode is not None:
            self.faults.append(f"a service ended by itself with {berth.process.returncode}")
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(berth.process.pid, number)

    async def stop(self) -> None:
        """Stop all of them in good order."""
        async with asyncio.TaskGroup() as tasks:
            for berth in self.berths:
                tasks.create_task(self._stop(berth))

    async def kill_all(self) -> None:
        """Leave none alive, whatever happened."""
        for berth in self.berths:
            if berth.process is not None and berth.process.returncode is None:
                berth.process.kill()
                await berth.process.wait()
