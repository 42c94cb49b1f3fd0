"""Who reads a pipeline together with others gets what its files were when it asked, or later."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from itertools import count

import pytest
from headrace.domain.errors import HeadraceError
from headrace.domain.pipeline import Pipeline
from headrace.triggers.shared_reading import SharedReads


@dataclass
class Reader:
    """Reads that wait to be let go, each giving its number as the pipeline's name."""

    begun: asyncio.Queue[int]
    loop: asyncio.AbstractEventLoop
    fails: bool = False
    go_on: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    numbers: Iterator[int] = field(default_factory=lambda: count(1))

    def __call__(self, pipeline: str) -> Pipeline:
        number = next(self.numbers)
        self.loop.call_soon_threadsafe(self.begun.put_nowait, number)
        self.go_on.acquire()
        if self.fails:
            raise HeadraceError(f"read {number} failed")
        return Pipeline(f"{pipeline}-{number}")


@pytest.fixture
async def reader() -> AsyncIterator[Reader]:
    made = Reader(asyncio.Queue(), asyncio.get_running_loop())
    yield made
    made.go_on.release(100)


async def settled() -> None:
    """Let every task that can go on do so."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_who_asks_during_a_read_gets_one_that_begins_after_it_together_with_the_others(reader: Reader) -> None:
    reads = SharedReads(reader, "p")
    first = asyncio.create_task(reads.read())
    assert await reader.begun.get() == 1
    later = [asyncio.create_task(reads.read()) for _ in range(20)]
    await settled()
    reader.go_on.release()
    assert await reader.begun.get() == 2
    assert (await first).uuid == "p-1"
    last = asyncio.create_task(reads.read())
    await settled()
    reader.go_on.release()
    assert {pipeline.uuid for pipeline in await asyncio.gather(*later)} == {"p-2"}
    reader.go_on.release()
    assert (await last).uuid == "p-3"


async def test_what_a_read_meets_is_told_to_all_who_share_it(reader: Reader) -> None:
    reader.fails = True
    reads = SharedReads(reader, "p")
    first = asyncio.create_task(reads.read())
    await reader.begun.get()
    later = [asyncio.create_task(reads.read()) for _ in range(3)]
    await settled()
    reader.go_on.release(2)
    told = await asyncio.gather(first, *later, return_exceptions=True)
    assert [str(error) for error in told] == ["read 1 failed", *["read 2 failed"] * 3]
    reader.fails = False
    reader.go_on.release()
    assert (await reads.read()).uuid == "p-3"


@pytest.mark.parametrize("begun", [False, True], ids=["before its read began", "during its read"])
async def test_those_who_share_a_read_outlive_the_one_who_led_it(reader: Reader, begun: bool) -> None:
    reads = SharedReads(reader, "p")
    first = asyncio.create_task(reads.read())
    await reader.begun.get()
    leader = asyncio.create_task(reads.read())
    follower = asyncio.create_task(reads.read())
    await settled()
    if begun:
        reader.go_on.release()
        await reader.begun.get()
        await first
    leader.cancel()
    await settled()
    reader.go_on.release(100)
    assert (await follower).uuid == ("p-3" if begun else "p-2")
    assert leader.cancelled()
