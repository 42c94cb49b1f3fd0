"""Messages of a NATS JetStream stream."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from headrace.blocks.event import Event
from headrace.blocks.sensors.clients import client
from headrace.blocks.sensors.messages import payload_of

_WAIT_SECONDS = 5.0


async def nats_jetstream(
    cursor: Any = None,
    *,
    subject: str,
    stream: str | None = None,
    durable: str = "headrace",
    url: str = "nats://localhost:4222",
    start: str = "first",
    batch: int = 100,
) -> AsyncIterator[list[Event]]:
    """An event for each message; its key is the header Nats-Msg-Id, else its place in the stream with its time.

    The place is kept by the `durable` consumer, which is made where there is none and begins at `start` (first, new).
    Messages are acknowledged after their commit.
    """
    nats = client("nats", "nats")
    api = client("nats.js.api", "nats")
    errors = client("nats.errors", "nats")
    policy = api.DeliverPolicy.ALL if start == "first" else api.DeliverPolicy.NEW
    connection = await nats.connect(url, connect_timeout=10, max_reconnect_attempts=5)
    try:
        source = await connection.jetstream().pull_subscribe(
            subject, durable=durable, stream=stream, config=api.ConsumerConfig(deliver_policy=policy)
        )
        while True:
            try:
                messages = await source.fetch(batch, timeout=_WAIT_SECONDS)
            except errors.TimeoutError:
                continue
            yield [_event(message) for message in messages]
            for message in messages:
                await message.ack()
            await connection.flush()
    finally:
        await connection.close()


def _event(message: Any) -> Event:
    told = message.metadata
    headers = {**(message.headers or {}), "subject": message.subject, "stream": told.stream,
               "sequence": str(told.sequence.stream)}  # fmt: skip
    key = headers.get("Nats-Msg-Id") or f"{told.stream}:{told.sequence.stream}@{told.timestamp.isoformat()}"
    return Event(payload_of(message.data), key, told.timestamp, headers)
