"""A thousand schedules: what they cost at rest, and how soon five hundred slots of one second are events."""

from __future__ import annotations

import asyncio
import os
import statistics
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import anyio
import yaml
from headrace.project.following import FollowedProject
from headrace.service import Headrace
from headrace.store.runs import keep_project
from headrace.supervising import supervised
from headrace.triggers.intake import Intake
from headrace.triggers.schedules import Timekeeper

from bench.processes import cpu_seconds
from bench.projects import passing_folder
from bench.table import Figure

SCHEDULES = 1000
DUE = 500


class MovedClock:
    """The machine's time, moved."""

    ahead = timedelta(0)

    def now(self) -> datetime:
        return datetime.now(UTC) + self.ahead

    def move_to(self, moment: datetime) -> None:
        self.ahead = moment - datetime.now(UTC)


def write_scheduled(root: Path) -> None:
    """A project of one pipeline with a thousand schedules: half for the start of each year, half for the day after."""
    folder = root / "pipelines" / "scheduled"
    folder.mkdir(parents=True)
    (root / "metadata.yaml").write_text("project_type: standalone\n")
    (folder / "metadata.yaml").write_text(yaml.safe_dump({"blocks": [{"uuid": "one", "type": "custom"}]}))
    (folder / "one.py").write_text("@custom\ndef body(*args, **kwargs):\n    return 1\n")
    triggers = [
        {"name": f"s{number}", "schedule_type": "time", "status": "active",
         "schedule_interval": f"0 0 {1 if number < DUE else 2} 1 *"}
        for number in range(SCHEDULES)
    ]  # fmt: skip
    (folder / "triggers.yaml").write_text(yaml.safe_dump({"triggers": triggers}))


async def schedules(headrace: Headrace, rounds: int) -> list[Figure]:
    """Processor time of a service's timekeeping at rest, and seconds from a due second to the last of 500 commits."""
    with passing_folder() as root:
        clock = MovedClock()
        write_scheduled(root)
        project = FollowedProject(root, os.environ)
        number = await keep_project(headrace.database, str(root), "scheduled")
        intake = Intake.of(headrace.database, {number: project}, lambda runs: None)
        timekeeper = Timekeeper(headrace.database, intake.book, intake.acceptor, now=clock.now)
        parts = {**intake.parts, "the slots of schedules": timekeeper.run}
        async with anyio.create_task_group() as tasks:
            for name, part in parts.items():
                tasks.start_soon(supervised, name, part)
            await timekeeper.ready()
            share = await _share_at_rest(3.0 * rounds)
            times = [await _seconds_to_events(headrace, number, clock, turn) for turn in range(rounds)]
            tasks.cancel_scope.cancel()
    return [
        Figure("1,000 schedules at rest", share * 100, "% of a core", 3.0, "this process, its engine at rest too"),
        Figure("500 slots of one second", statistics.median(times), "s", 1.0),
    ]


async def _share_at_rest(seconds: float) -> float:
    await asyncio.sleep(2)
    before = cpu_seconds([os.getpid()])
    await asyncio.sleep(seconds)
    return (cpu_seconds([os.getpid()]) - before) / seconds


async def _seconds_to_events(headrace: Headrace, project: int, clock: MovedClock, turn: int) -> float:
    """Move the clock to the second before the next half of the schedules is due, and wait for its events."""
    year = datetime.now(UTC).year + 1 + turn // 2
    due = datetime(year, 1, 1 + turn % 2, tzinfo=UTC)
    clock.move_to(due - timedelta(seconds=1))
    await asyncio.sleep(0.9)
    while clock.now() < due:
        await asyncio.sleep(0)
    began = time.perf_counter()
    while await _events(headrace, project) < DUE * (turn + 1):
        await asyncio.sleep(0.01)
    return time.perf_counter() - began


async def _events(headrace: Headrace, project: int) -> int:
    return int(await headrace.database.fetchval("SELECT count(*) FROM headrace.event WHERE project_id = $1", project))
