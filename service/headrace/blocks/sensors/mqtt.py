"""Messages of an MQTT topic."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import unquote, urlsplit

from headrace.blocks.event import Event
from headrace.blocks.sensors.clients import client
from headrace.blocks.sensors.messages import Repeats, digest, next_batch, payload_of
from headrace.domain.errors import HeadraceError

_CONNECT_SECONDS = 10.0
_KEEPALIVE_SECONDS = 30
_PORTS = {"mqtt": 1883, "mqtts": 8883}


class MqttRefused(HeadraceError):
    """The MQTT broker did not let us in, or refused the subscription, or left."""

    code = "mqtt-refused"


async def mqtt_topic(
    cursor: Any = None,
    *,
    topic: str,
    client_id: str,
    url: str = "mqtt://localhost:1883",
    qos: int = 1,
    batch: int = 20,
) -> AsyncIterator[tuple[list[Event], Any]]:
    """An event for each message; its payload is the message's.

    `client_id` names a session that the broker keeps, with what arrives while nobody looks: no two clients may share
    it. With `qos` 1 messages are acknowledged after their commit, and counted once though they have no id; with 0 the
    broker keeps nothing.
    """
    paho = client("paho.mqtt.client", "mqtt")
    arrived: asyncio.Queue[Any] = asyncio.Queue()
    repeats = Repeats(cursor)
    async with _connected(paho, url, client_id, topic, qos, arrived) as connection:
        while True:
            messages = await next_batch(arrived, batch)
            fresh = [message for message in messages if not (message.dup and repeats.is_repeat(_mark(message)))]
            if fresh:
                marks = [_mark(message) for message in fresh if message.qos > 0]
                yield [_event(message) for message in fresh], repeats.cursor(marks)
            for message in messages:
                connection.ack(message.mid, message.qos)


@asynccontextmanager
async def _connected(
    paho: Any, url: str, client_id: str, topic: str, qos: int, arrived: asyncio.Queue[Any]
) -> AsyncIterator[Any]:
    """A client in a thread of its own, subscribed; what comes in goes to the queue."""
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()

    def fail(what: str) -> None:
        error = MqttRefused(f"MQTT broker {parts.hostname}: {what}.", remedy="Check the url, the topic and its rights.")
        if not ready.done():
            ready.set_exception(error)
        arrived.put_nowait(error)

    def subscribed() -> None:
        if not ready.done():
            ready.set_result(None)

    def on_connect(each: Any, _: Any, __: Any, reason: Any, ___: Any) -> None:
        if reason.is_failure:
            loop.call_soon_threadsafe(fail, str(reason))
        else:
            each.subscribe(topic, qos=qos)

    def on_subscribe(_: Any, __: Any, ___: Any, reasons: Any, ____: Any) -> None:
        refused = [str(reason) for reason in reasons if reason.is_failure]
        loop.call_soon_threadsafe(*((fail, refused[0]) if refused else (subscribed,)))

    parts = urlsplit(url)
    connection = paho.Client(
        paho.CallbackAPIVersion.VERSION2, client_id=client_id, clean_session=False, manual_ack=True,
        reconnect_on_failure=False,
    )  # fmt: skip
    connection.on_connect, connection.on_subscribe = on_connect, on_subscribe
    connection.on_message = lambda _, __, message: loop.call_soon_threadsafe(arrived.put_nowait, message)
    connection.on_disconnect = lambda *told: loop.call_soon_threadsafe(fail, f"disconnected ({told[3]})")
    if parts.username:
        connection.username_pw_set(unquote(parts.username), unquote(parts.password or ""))
    if parts.scheme == "mqtts":
        connection.tls_set()
    port = parts.port or _PORTS.get(parts.scheme, 1883)
    await asyncio.to_thread(connection.connect, parts.hostname or "localhost", port, _KEEPALIVE_SECONDS)
    connection.loop_start()
    try:
        async with asyncio.timeout(_CONNECT_SECONDS):
            await ready
        yield connection
    finally:
        connection.on_disconnect = None
        await asyncio.to_thread(_leave, connection)


def _leave(connection: Any) -> None:
    connection.disconnect()
    connection.loop_stop()


def _mark(message: Any) -> str:
    return digest(message.mid, message.topic, message.payload)


def _event(message: Any) -> Event:
    headers = {"topic": message.topic, "qos": str(message.qos), "retained": str(bool(message.retain)).lower()}
    return Event(payload_of(message.payload), headers=headers)
