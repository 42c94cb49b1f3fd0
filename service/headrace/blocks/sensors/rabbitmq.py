"""Messages of a RabbitMQ queue."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from headrace.blocks.event import Event
from headrace.blocks.sensors.clients import client
from headrace.blocks.sensors.messages import Repeats, digest, next_batch, payload_of

_HEARTBEAT_SECONDS = 30


async def rabbitmq_queue(
    cursor: Any = None,
    *,
    queue: str,
    url: str = "amqp://guest:guest@localhost:5672/",
    declare: bool = False,
    batch: int = 100,
) -> AsyncIterator[tuple[list[Event], Any]]:
    """An event for each message; its key is the message's id, its payload the body.

    Messages are acknowledged after their commit. Those without an id are counted once all the same, as long as nobody
    else takes from the queue. `declare` makes a durable queue where there is none.
    """
    aio_pika = client("aio_pika", "rabbitmq")
    connection = await aio_pika.connect(url, heartbeat=_HEARTBEAT_SECONDS, timeout=10)
    async with connection:
        channel = await connection.channel()
        await channel.set_qos(prefetch_count=batch)
        source = await channel.declare_queue(queue, durable=True, passive=not declare)
        arrived: asyncio.Queue[Any] = asyncio.Queue()
        channel.close_callbacks.add(lambda _, error: arrived.put_nowait(error or ConnectionError("the channel closed")))
        await source.consume(arrived.put)
        repeats = Repeats(cursor)
        while True:
            messages = await next_batch(arrived, batch)
            fresh = [message for message in messages if not _is_repeat(message, repeats)]
            if fresh:
                marks = [_mark(message) for message in fresh if not message.message_id]
                yield [_event(queue, message) for message in fresh], repeats.cursor(marks)
            await messages[-1].ack(multiple=True)


def _is_repeat(message: Any, repeats: Repeats) -> bool:
    return bool(message.redelivered and not message.message_id and repeats.is_repeat(_mark(message)))


def _mark(message: Any) -> str:
    return digest(message.routing_key, message.exchange, message.body, message.timestamp, message.correlation_id)


def _event(queue: str, message: Any) -> Event:
    own = {str(name): str(value) for name, value in (message.headers or {}).items()}
    headers = {**own, "queue": queue, "routing_key": message.routing_key or "", "exchange": message.exchange or ""}
    return Event(payload_of(message.body), message.message_id, message.timestamp, headers)
