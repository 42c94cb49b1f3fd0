"""How far a service is with its schedules: what is overdue while slots cannot be committed, and how late they were."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import anyio
import pytest
from headrace.domain.events import Accepted, NewEvent
from headrace.store.database import Database
from headrace.triggers.observing import IntakeObserver

from tests.support.schedules import MovedClock, ScheduleStack, schedule, timekeeping, until_slot, utc
from tests.support.triggers import write_triggers


class Heard(IntakeObserver):
    """Keeps what it heard."""

    def __init__(self) -> None:
        self.slots: list[float] = []
        self.sources: list[str] = []

    def event_accepted(self, source: str, seconds: float) -> None:
        self.sources.append(source)

    def slot_accepted(self, seconds: float) -> None:
        self.slots.append(seconds)


def standing(stack: ScheduleStack) -> Any:
    (found,) = stack.timekeeper.standings().values()
    return found


async def until(stack: ScheduleStack, holds: Any) -> Any:
    with anyio.fail_after(20):
        while not holds(found := standing(stack)):
            await anyio.sleep(0.005)
    return found


async def test_slots_that_cannot_be_committed_are_overdue_and_then_were_late(
    database: Database, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, heard = MovedClock(), Heard()
    write_triggers(root, "orders", [schedule("hourly", "@hourly")])
    async with timekeeping(database, root, clock) as stack:
        stack.parts.acceptor.observer = heard
        first = standing(stack)
        assert (first.next_at, first.late, first.overdue, first.overdue_by) == (utc("2026-05-06T11:00"), None, 0, 0.0)
        real, away = stack.parts.acceptor.accept_all, True

        async def accept_all(events: Sequence[NewEvent]) -> list[Accepted]:
            if away:
                raise ConnectionResetError("away")
            return await real(events)

        monkeypatch.setattr(stack.parts.acceptor, "accept_all", accept_all)
        clock.move(hours=3)
        found = await until(stack, lambda one: one.overdue == 3 and one.next_at == utc("2026-05-06T14:00"))
        assert found.overdue_by == (2 * 60 + 20) * 60
        away = False
        await until_slot(database, "hourly", "2026-05-06T13:00:00Z")
        found = await until(stack, lambda one: one.overdue == 0)
        assert (found.late, found.overdue_by) == (20 * 60, 0.0)
        assert heard.slots == [(2 * 60 + 20) * 60, (60 + 20) * 60, 20 * 60]
        assert heard.sources == ["schedule:orders/hourly"] * 3


async def test_a_slot_that_another_service_committed_was_not_late_here(database: Database, root: Path) -> None:
    clock, heard = MovedClock(), Heard()
    write_triggers(root, "orders", [schedule("hourly", "@hourly")])
    async with timekeeping(database, root, clock) as one, timekeeping(database, root, clock) as two:
        one.parts.acceptor.observer = two.parts.acceptor.observer = heard
        clock.move(minutes=50)
        await until_slot(database, "hourly", "2026-05-06T11:00:00Z")
        for stack in (one, two):
            await until(stack, lambda found: found.overdue == 0)
        assert heard.slots == [600.0]
        assert sorted([standing(one).late or 0, standing(two).late or 0]) == [0, 600.0]


async def test_a_slot_is_measured_from_when_its_run_was_to_start(database: Database, root: Path) -> None:
    clock, heard = MovedClock(), Heard()
    write_triggers(root, "orders", [schedule("spread", "@hourly", jitter=1800)])
    async with timekeeping(database, root, clock) as stack:
        stack.parts.acceptor.observer = heard
        clock.move(minutes=70 + 30)
        await until_slot(database, "spread", "2026-05-06T11:00:00Z")
        found = await until(stack, lambda one: one.late is not None)
        assert 30 * 60 <= found.late < 60 * 60
