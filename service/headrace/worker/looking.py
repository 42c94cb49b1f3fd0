"""One look of a sensor for the triggers that listen to it: its events go to the service while the call is under way.

The questions it asks the service: `begin` (what the function is, and its decorator's seconds), `deliver` (events and a
cursor, answered once they are committed) and `beat` (nothing to tell, and alive).
"""

from __future__ import annotations

import asyncio
import inspect
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from headrace.blocks import calling, sensing
from headrace.blocks.asking import ask, ask_meanwhile
from headrace.blocks.coroutines import result_of
from headrace.domain.errors import HeadraceError
from headrace.worker.protocol import Call, Outcome, Result

BEAT_SECONDS = 1.0
DELIVERY_CHARACTERS = 16 << 20


class DeliveryTooLarge(HeadraceError):
    """Events that are to be committed together are larger than one transaction should be."""

    code = "delivery-too-large"


def look(call: Call, kwargs: Mapping[str, Any]) -> Result:
    """Call the sensor's function once and deliver what it gives, until it returns or its generator ends."""
    collected = calling.collect(call.code.text, call.code.path, "sensor", {})
    function = calling.first_function(collected)
    ask(
        "begin",
        interval=sensing.sensor_seconds(collected, "interval"),
        deadline=sensing.sensor_seconds(collected, "deadline"),
        stream=sensing.is_stream(function),
    )
    value = sensing.called(collected, {}, kwargs, sensing.cursor_from_json(call.cursor))
    with_cursor = sensing.takes_cursor(function)
    if inspect.isasyncgen(value):
        result_of(_stream(value, with_cursor))
    elif inspect.isgenerator(value):
        for item in value:
            _deliver(item, with_cursor)
    else:
        _deliver(calling.settled(value), with_cursor)
    return Result(call.id, Outcome.COMPLETED)


def _deliver(value: Any, with_cursor: bool) -> None:
    content = _content(sensing.delivery_of(value, with_cursor))
    ask("deliver" if content else "beat", **content)


async def _stream(values: Any, with_cursor: bool) -> None:
    """Deliver each value and let the generator go on after its commit; beats tell that its event loop is alive."""
    beats = asyncio.create_task(_beat())
    try:
        with _ended_by_cancel():
            async for value in values:
                if content := _content(sensing.delivery_of(value, with_cursor)):
                    await ask_meanwhile("deliver", **content)
    finally:
        beats.cancel()
        await values.aclose()


async def _beat() -> None:
    while True:
        await asyncio.sleep(BEAT_SECONDS)
        await ask_meanwhile("beat")


@contextmanager
def _ended_by_cancel() -> Iterator[None]:
    """SIGTERM cancels the generator where it waits, so that its `finally` parts run."""
    task = asyncio.current_task()
    assert task is not None  # noqa: S101 - it runs inside of one
    loop = asyncio.get_running_loop()
    before = signal.getsignal(signal.SIGTERM)
    loop.add_signal_handler(signal.SIGTERM, task.cancel)
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGTERM)
        signal.signal(signal.SIGTERM, before)


def _content(delivery: sensing.Delivery) -> dict[str, Any]:
    """A delivery as it travels, nothing for one without events and cursor. Raises NotStorable and DeliveryTooLarge."""
    events = [sensing.event_text(event) for event in delivery.events]
    size = sum(map(len, events))
    if size > DELIVERY_CHARACTERS:
        raise DeliveryTooLarge(
            f"{len(events)} events of {size:,} characters together were given at once; {DELIVERY_CHARACTERS:,} may be.",
            remedy="Yield them in smaller lists, and put large content elsewhere and its address into the payload.",
        )
    content: dict[str, Any] = {"events": events} if events else {}
    if delivery.cursor is not None:
        content["cursor"] = sensing.json_text(sensing.cursor_to_json(delivery.cursor))
    return content
