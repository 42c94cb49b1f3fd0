"""Services' timekeepers on a clock that a test moves."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import anyio
from headrace.store.database import Database
from headrace.supervising import supervised
from headrace.triggers.schedules import Timekeeper

from tests.support.triggers import TriggerStack, make_stack

START = datetime(2026, 5, 6, 10, 20, tzinfo=UTC)
"""When the tests' clocks begin: a Wednesday."""


def utc(text: str) -> datetime:
    """A moment, told in UTC."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def schedule(name: str, interval: str | list[str], **keys: Any) -> dict[str, Any]:
    """A trigger that was enabled when the tests' clocks begin."""
    return {
        "name": name,
        "schedule_type": "time",
        "schedule_interval": interval,
        "last_enabled_at": START.isoformat(),
        **keys,
    }


@dataclass
class MovedClock:
    """A clock that stands until it is moved."""

    at: datetime = START

    def now(self) -> datetime:
        return self.at

    def move(self, **by: float) -> None:
        self.at += timedelta(**by)


@dataclass
class ScheduleStack:
    """One service's timekeeper with what it stands on."""

    parts: TriggerStack
    timekeeper: Timekeeper

    @property
    def database(self) -> Database:
        return self.parts.database


@asynccontextmanager
async def timekeeping(database: Database, root: Path, clock: Any, **more: Any) -> AsyncIterator[ScheduleStack]:
    """A service that keeps time for the project in `root` until the block ends; its book is looked at by `look`."""
    parts = await make_stack(database, root)
    parts.book._ready.set()
    timekeeper = Timekeeper(database, parts.book, parts.acceptor, now=clock.now, look_seconds=0.01, **more)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(parts.acceptor.run)
        tasks.start_soon(supervised, "the slots of schedules", timekeeper.run)
        with anyio.fail_after(20):
            await timekeeper.ready()
        yield ScheduleStack(parts, timekeeper)
        tasks.cancel_scope.cancel()


async def slots_of(database: Database, name: str) -> list[str]:
    """The keys of the events of a pipeline's schedule, in the order of their slots."""
    rows = await database.fetch(
        "SELECT key FROM headrace.event WHERE source = $1 ORDER BY occurred_at, id", f"schedule:orders/{name}"
    )
    return [row["key"] for row in rows]


async def until_slot(database: Database, name: str, key: str) -> None:
    """Wait until a slot of a schedule is an event: the database itself tells of it."""
    await until_slots(database, [(name, key)])


async def until_slots(database: Database, wanted: Sequence[tuple[str, str]]) -> None:
    """Wait until all these slots are events."""
    missing = {(f"schedule:orders/{name}", key) for name, key in wanted}
    with anyio.fail_after(30):
        while missing:
            rows = await database.fetch("SELECT source, key FROM headrace.event")
            missing -= {(row["source"], row["key"]) for row in rows}
            await anyio.sleep(0.005)
