"""What the first signal does as a command goes on. What the second does is tested on processes, in tests/cli."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest
from headrace.terminal.interrupting import SIGNALS, Interruptions


async def press(interruptions: Interruptions, number: signal.Signals = signal.SIGINT) -> None:
    os.kill(os.getpid(), number)
    async with asyncio.timeout(10):
        while not interruptions.asked:
            await asyncio.sleep(0)  # the loop hears of it at one of its next turns


async def heard(interruptions: Interruptions, work) -> None:
    with interruptions.heard():
        await work


@pytest.mark.parametrize("number", SIGNALS)
async def test_at_first_it_cancels_the_command(number):
    interruptions = Interruptions(pytest.fail)

    async def wait() -> None:
        await press(interruptions, number)
        await asyncio.Event().wait()

    with pytest.raises(asyncio.CancelledError):
        await asyncio.create_task(heard(interruptions, asyncio.wait_for(wait(), 10)))
    assert interruptions.asked


async def test_while_a_run_is_being_made_it_is_remembered_and_answered_after():
    interruptions, answers = Interruptions(pytest.fail), []

    async def work() -> None:
        with interruptions.remembered():
            await press(interruptions)
            assert answers == []
        with interruptions.answered_by(lambda: answers.append("cancel")):
            assert answers == ["cancel"]

    await heard(interruptions, work())
    assert interruptions.asked


async def test_while_a_run_goes_on_it_does_what_is_asked_of_it_then():
    interruptions, answers = Interruptions(pytest.fail), []

    async def work() -> None:
        with interruptions.answered_by(lambda: answers.append("cancel")):
            await press(interruptions)

    await heard(interruptions, work())
    assert answers == ["cancel"]
