"""The clock of schedules: it rings when something is due, notices a clock that is set, and costs nothing meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import anyio
from headrace.triggers.alarm import AlarmClock
from headrace.triggers.schedules import machine_time

from tests.support.schedules import START, MovedClock


@dataclass
class Every:
    """Due every so many seconds."""

    seconds: float
    due: datetime = START
    taken: list[datetime] = field(default_factory=list)
    asked: int = 0

    def take(self, now: datetime) -> datetime | None:
        self.asked += 1
        while self.due <= now:
            self.taken.append(self.due)
            self.due += timedelta(seconds=self.seconds)
        return self.due


@dataclass
class Bell:
    """Hears the alarm."""

    rung: asyncio.Event = field(default_factory=asyncio.Event)
    times: int = 0

    def ring(self) -> None:
        self.times += 1
        self.rung.set()

    async def heard(self) -> None:
        with anyio.fail_after(10):
            await self.rung.wait()
        self.rung.clear()


@asynccontextmanager
async def alarm(clock, bell: Bell, look_seconds: float = 0.01) -> AsyncIterator[AlarmClock]:
    made = AlarmClock(clock.now, bell.ring, look_seconds=look_seconds)
    made.start()
    yield made
    made.stop()
    await asyncio.sleep(0)


async def test_it_rings_at_once_for_what_is_due_and_later_for_what_will_be():
    clock, bell, every = MovedClock(), Bell(), Every(60)
    async with alarm(clock, bell) as made:
        made.set("a", every)
        await bell.heard()
        assert every.taken == [START]
        clock.move(seconds=60)
        await bell.heard()
    assert every.taken == [START, START + timedelta(minutes=1)]


async def test_a_clock_set_forwards_by_an_hour_leaves_nothing_out_and_set_back_repeats_nothing():
    clock, bell, every = MovedClock(), Bell(), Every(600)
    async with alarm(clock, bell) as made:
        made.set("a", every)
        await bell.heard()
        clock.move(hours=1)
        await bell.heard()
        assert len(every.taken) == 7
        clock.move(hours=-1)
        made.set("b", Every(1, due=clock.now()))
        await bell.heard()
        assert len(every.taken) == 7
        clock.move(hours=1, minutes=10)
        await bell.heard()
    assert len(every.taken) == 8


async def test_what_was_unset_rings_no_more():
    clock, bell, first, second = MovedClock(), Bell(), Every(60), Every(60)
    async with alarm(clock, bell) as made:
        made.set("a", first)
        made.set("b", second)
        await bell.heard()
        made.unset("a")
        made.unset("a")
        clock.move(seconds=60)
        while len(second.taken) < 2:
            await bell.heard()
    assert len(first.taken) == 1


async def test_something_that_is_due_never_again_stays_silent():
    @dataclass
    class Never:
        asked: int = 0

        def take(self, now: datetime) -> datetime | None:
            self.asked += 1
            return None

    clock, bell, never, every = MovedClock(), Bell(), Never(), Every(60)
    async with alarm(clock, bell) as made:
        made.set("a", never)
        made.set("b", every)
        await bell.heard()
        for _ in range(3):
            clock.move(minutes=1)
            await bell.heard()
    assert never.asked == 1


async def test_it_rings_within_milliseconds_of_the_machines_time():
    @dataclass
    class Machine:
        def now(self) -> datetime:
            return machine_time()

    bell = Bell()
    async with alarm(Machine(), bell, look_seconds=60) as made:
        due = machine_time() + timedelta(seconds=0.2)
        every = Every(3600, due=due)
        made.set("a", every)
        await bell.heard()  # it rings once when it is set
        await bell.heard()
        assert every.taken == [due]
        assert machine_time() - due < timedelta(seconds=0.5)


async def test_a_thousand_that_are_not_due_are_not_even_asked():
    clock, bell = MovedClock(), Bell()
    idle = [Every(3600, due=START + timedelta(hours=1)) for _ in range(1000)]
    tick = Every(1)
    async with alarm(clock, bell, look_seconds=0.001) as made:
        for number, every in enumerate(idle):
            made.set(f"idle {number}", every)
        made.set("tick", tick)
        while tick.asked < 1:
            await bell.heard()
        asked = sum(every.asked for every in idle)
        for _ in range(50):
            clock.move(seconds=1)
            while tick.due <= clock.now():
                await bell.heard()
    assert asked == 1000
    assert sum(every.asked for every in idle) == 1000
