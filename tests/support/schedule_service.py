"""A service that keeps time and drives nothing, as a process of its own: `python -m tests.support.schedule_service ROOT`."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import anyio
from headrace.project.following import FollowedProject
from headrace.store.database import open_database
from headrace.store.runs import keep_project
from headrace.supervising import supervised
from headrace.triggers.intake import Intake

from tests.support.services import ServiceProcess


async def serve(root: Path) -> None:
    """Serve until killed; `ready` is printed once the schedules are followed."""
    async with open_database(root) as database, anyio.create_task_group() as tasks:
        project = FollowedProject(root, os.environ)
        number = await keep_project(database, str(root), project.project().name)
        intake = Intake.of(database, {number: project}, lambda runs: None)
        for name, part in intake.parts.items():
            tasks.start_soon(supervised, name, part)
        await intake.timekeeper.ready()
        print("ready", flush=True)
        await asyncio.Event().wait()


async def start_timekeeping(root: Path, database_url: str, log: Path) -> ServiceProcess:
    """Start such a service, and wait until it follows the project's schedules."""
    with log.open("ab") as errors:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", __name__, str(root),
            stdout=asyncio.subprocess.PIPE, stderr=errors,
            env={**os.environ, "HEADRACE_DATABASE_URL": database_url},
        )  # fmt: skip
    assert process.stdout is not None
    async with asyncio.timeout(60):
        assert await process.stdout.readline() == b"ready\n", log.read_text()
    return ServiceProcess(process)


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1])))
