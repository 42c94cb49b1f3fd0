"""Services that look for sensors: in this process with real workers, or in processes of their own that tests kill."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent
from typing import Any

import anyio
from headrace.engine.clock import SystemClock
from headrace.engine.look_workers import LookWorkers
from headrace.store.database import Database, open_database
from headrace.store.sensors import SensorView, sensor_views
from headrace.triggers.sensors import Sensors, SensorSettings

from tests.support.checkout import ROOT
from tests.support.triggers import TriggerStack, make_stack
from tests.support.workers import make_pool

LOOK_SECONDS = 0.02


def write_sensor(root: Path, name: str, source: str) -> Path:
    """A file of sensors/."""
    path = root / "sensors" / f"{name}.py"
    path.parent.mkdir(exist_ok=True)
    path.write_text(dedent(source))
    return path


def sensor(name: str, **settings: Any) -> dict[str, Any]:
    """A trigger of the same name that listens to the sensor."""
    return {"name": name, "schedule_type": "sensor", "sensor": {"name": name, **settings}}


async def no_questions(project: int, question: str, content: Mapping[str, Any]) -> Any:
    raise AssertionError(f"nobody was expected to ask for {question}")


@dataclass
class SensorService:
    """One service's sensors, with the rest of what makes events."""

    stack: TriggerStack
    sensors: Sensors

    async def keys(self, name: str) -> list[str]:
        """Keys of the accepted events of a sensor, in their order."""
        rows = await self.stack.database.fetch(
            "SELECT key FROM headrace.event WHERE source = $1 ORDER BY id", f"sensor:{name}"
        )
        return [row["key"] for row in rows]

    async def payloads(self, name: str) -> list[Any]:
        rows = await self.stack.database.fetch(
            "SELECT payload FROM headrace.event WHERE source = $1 ORDER BY id", f"sensor:{name}"
        )
        return [row["payload"] for row in rows]

    async def view(self, name: str) -> SensorView:
        (view,) = await sensor_views(self.stack.database, self.stack.project.id, name)
        return view

    async def until_events(self, name: str, number: int, *, within: float = 20) -> list[Any]:
        """The payloads of a sensor's events, once there are so many."""
        async with asyncio.timeout(within):
            while len(found := await self.payloads(name)) < number:
                await asyncio.sleep(LOOK_SECONDS)
        return found

    async def until(self, name: str, holds: Any, *, within: float = 20) -> SensorView:
        """The sensor's view, once something holds of it."""
        async with asyncio.timeout(within):
            while not holds(view := await self.view(name)):
                await asyncio.sleep(LOOK_SECONDS)
        return view


@asynccontextmanager
async def sensor_service(
    database: Database, root: Path, *, lease: float = 2.0, poll: float = 0.1, questions: Any = no_questions
) -> AsyncIterator[SensorService]:
    """A service that looks for the sensors of the project in `root` until the block ends."""
    stack = await make_stack(database, root, os.environ)
    stack.book.look_seconds = 0.1
    async with make_pool(spares=0) as pool, anyio.create_task_group() as tasks:
        settings = SensorSettings(lease, poll)
        sensors = Sensors(
            database, stack.book, stack.acceptor, LookWorkers({root: pool}), SystemClock(), questions, settings
        )
        tasks.start_soon(stack.book.run)
        tasks.start_soon(sensors.run)
        await sensors.ready()
        yield SensorService(stack, sensors)
        tasks.cancel_scope.cancel()


@dataclass
class SensorProcess:
    """A service that looks for sensors in a process of its own."""

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


@asynccontextmanager
async def sensor_process(
    root: Path, database_url: str, *, lease: float = 1.0, poll: float = 0.1
) -> AsyncIterator[SensorProcess]:
    """A service in a process of its own, killed at the end of the block."""
    running = await start_sensor_process(root, database_url, lease=lease, poll=poll)
    try:
        yield running
    finally:
        await running.kill()


async def start_sensor_process(
    root: Path, database_url: str, *, lease: float = 1.0, poll: float = 0.1
) -> SensorProcess:
    """Start it and wait until it holds its lease."""
    arguments = [sys.executable, "-m", "tests.support.sensors", str(root), database_url, str(lease), str(poll)]
    log = root.parent / f"{root.name}.sensors.log"
    with log.open("ab") as errors:
        process = await asyncio.create_subprocess_exec(
            *arguments, cwd=ROOT, stdout=asyncio.subprocess.PIPE, stderr=errors
        )
    assert process.stdout is not None
    line = await asyncio.wait_for(process.stdout.readline(), 60)
    if line.strip() != b"ready":
        raise AssertionError(f"the service did not start: {log.read_text()[-3000:]}")
    return SensorProcess(process)


async def _serve(arguments: Sequence[str]) -> None:
    root, database_url, lease, poll = Path(arguments[0]), arguments[1], float(arguments[2]), float(arguments[3])
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(open_database(root, {"HEADRACE_DATABASE_URL": database_url}))
        await stack.enter_async_context(sensor_service(database, root, lease=lease, poll=poll))
        print("ready", flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_serve(sys.argv[1:]))
