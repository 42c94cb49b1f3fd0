"""Brokers for tests, each behind the same few verbs; a test of one that is not there is skipped and says so."""

from __future__ import annotations

import asyncio
import json
import secrets
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Protocol

import pytest

ORDERS = [{"order": number} for number in range(1, 8)]


class Broker(Protocol):
    """One queue, topic or stream of a broker, its own for each test."""

    sensor: str
    settings: dict[str, Any]

    async def publish(self, values: Sequence[Any]) -> None:
        """Send JSON values, durably."""
        ...

    async def unacknowledged(self) -> int:
        """How many messages the broker would deliver again."""
        ...


def _needs(port: int, name: str) -> None:
    with socket.socket() as probe:
        probe.settimeout(1)
        if probe.connect_ex(("127.0.0.1", port)) != 0:
            pytest.skip(f"no {name} answers on port {port} of this machine")


def _name() -> str:
    return f"headrace-test-{secrets.token_hex(6)}"


class RedisStream:
    """A stream, read with its consumer group or (`group` None) by the cursor alone."""

    sensor = "redis_stream"

    def __init__(self, connection: Any, *, group: str | None) -> None:
        self._connection = connection
        self.name = _name()
        self.settings = {"stream": self.name, "field": "body", "batch": 3, "url": "redis://127.0.0.1:6379"}
        self._group = group
        if group is not None:
            self.settings["group"] = group

    async def publish(self, values: Sequence[Any]) -> None:
        for value in values:
            await self._connection.xadd(self.name, {"body": json.dumps(value)})

    async def unacknowledged(self) -> int:
        if self._group is None:
            return 0
        return (await self._connection.xpending(self.name, self._group))["pending"]


@asynccontextmanager
async def redis_stream(group: str | None) -> AsyncIterator[RedisStream]:
    _needs(6379, "Redis")
    from redis.asyncio import Redis

    async with Redis(host="127.0.0.1", decode_responses=True) as connection:
        broker = RedisStream(connection, group=group)
        try:
            yield broker
        finally:
            await connection.delete(broker.name)


class RabbitQueue:
    """A durable queue; its messages have ids where `with_ids`."""

    sensor = "rabbitmq_queue"

    def __init__(self, channel: Any, *, with_ids: bool) -> None:
        self._channel = channel
        self._with_ids = with_ids
        self.name = _name()
        self.settings = {"queue": self.name, "declare": True, "batch": 3, "url": "amqp://guest:guest@127.0.0.1:5672/"}

    async def publish(self, values: Sequence[Any]) -> None:
        import aio_pika

        for number, value in enumerate(values):
            message_id = f"m{value.get('order', number)}" if self._with_ids else None
            message = aio_pika.Message(json.dumps(value).encode(), message_id=message_id, delivery_mode=2)
            await self._channel.default_exchange.publish(message, self.name)

    async def unacknowledged(self) -> int:
        """Those that are ready; what a living consumer holds is not among them."""
        queue = await self._channel.declare_queue(self.name, durable=True, passive=True)
        return int(queue.declaration_result.message_count)


@asynccontextmanager
async def rabbitmq_queue(*, with_ids: bool) -> AsyncIterator[RabbitQueue]:
    _needs(5672, "RabbitMQ")
    import aio_pika

    async with await aio_pika.connect("amqp://guest:guest@127.0.0.1:5672/") as connection:
        channel = await connection.channel()
        broker = RabbitQueue(channel, with_ids=with_ids)
        await channel.declare_queue(broker.name, durable=True)
        try:
            yield broker
        finally:
            await channel.queue_delete(broker.name)


class NatsStream:
    """A stream with one durable consumer."""

    sensor = "nats_jetstream"

    def __init__(self, jetstream: Any) -> None:
        self._jetstream = jetstream
        self.name = _name()
        self.settings = {
            "subject": f"{self.name}.*", "durable": "tests", "batch": 3, "url": "nats://127.0.0.1:4222",
        }  # fmt: skip

    async def publish(self, values: Sequence[Any]) -> None:
        for value in values:
            await self._jetstream.publish(f"{self.name}.new", json.dumps(value).encode())

    async def unacknowledged(self) -> int:
        info = await self._jetstream.consumer_info(self.name, "tests")
        return int(info.num_ack_pending + info.num_pending)


@asynccontextmanager
async def nats_stream() -> AsyncIterator[NatsStream]:
    _needs(4222, "NATS")
    import nats
    from nats.js.api import AckPolicy, ConsumerConfig

    connection = await nats.connect("nats://127.0.0.1:4222")
    try:
        jetstream = connection.jetstream()
        broker = NatsStream(jetstream)
        await jetstream.add_stream(name=broker.name, subjects=[f"{broker.name}.*"])
        soon = ConsumerConfig(durable_name="tests", ack_policy=AckPolicy.EXPLICIT, ack_wait=1)
        await jetstream.add_consumer(broker.name, soon)
        try:
            yield broker
        finally:
            await jetstream.delete_stream(broker.name)
    finally:
        await connection.close()


class MqttTopic:
    """A topic, and the session of a client that the broker keeps."""

    sensor = "mqtt_topic"

    def __init__(self, publisher: Any) -> None:
        self._publisher = publisher
        self.name = _name()
        self.settings = {"topic": f"{self.name}/#", "client_id": self.name, "url": "mqtt://127.0.0.1:1883"}

    async def publish(self, values: Sequence[Any]) -> None:
        for value in values:
            sent = self._publisher.publish(f"{self.name}/new", json.dumps(value), qos=1)
            await asyncio.to_thread(sent.wait_for_publish, 10)

    async def unacknowledged(self) -> int:
        """What the session still gets when another takes it over."""
        from paho.mqtt import client as paho

        left: list[Any] = []
        other = paho.Client(paho.CallbackAPIVersion.VERSION2, self.name, clean_session=False, manual_ack=True)
        subscribed = asyncio.Event()
        loop = asyncio.get_running_loop()
        other.on_connect = lambda each, *_: each.subscribe(f"{self.name}/#", qos=1)
        other.on_message = lambda _, __, message: left.append(message)
        other.on_subscribe = lambda *_: loop.call_soon_threadsafe(subscribed.set)
        other.connect("127.0.0.1", 1883)
        other.loop_start()
        await asyncio.wait_for(subscribed.wait(), 10)
        other.disconnect()
        await asyncio.to_thread(other.loop_stop)
        return len(left)


@asynccontextmanager
async def mqtt_topic() -> AsyncIterator[MqttTopic]:
    _needs(1883, "MQTT broker")
    from paho.mqtt import client as paho

    publisher = paho.Client(paho.CallbackAPIVersion.VERSION2)
    publisher.connect("127.0.0.1", 1883)
    publisher.loop_start()
    broker = MqttTopic(publisher)
    # The session must be there before what is published for it.
    keeper = paho.Client(paho.CallbackAPIVersion.VERSION2, broker.name, clean_session=False)
    subscribed = asyncio.Event()
    loop = asyncio.get_running_loop()
    keeper.on_connect = lambda each, *_: each.subscribe(f"{broker.name}/#", qos=1)
    keeper.on_subscribe = lambda *_: loop.call_soon_threadsafe(subscribed.set)
    keeper.connect("127.0.0.1", 1883)
    keeper.loop_start()
    await asyncio.wait_for(subscribed.wait(), 10)
    keeper.disconnect()
    await asyncio.to_thread(keeper.loop_stop)
    try:
        yield broker
    finally:
        publisher.disconnect()
        await asyncio.to_thread(publisher.loop_stop)
        forgetter = paho.Client(paho.CallbackAPIVersion.VERSION2, broker.name, clean_session=True)
        forgetter.connect("127.0.0.1", 1883)
        forgetter.loop_start()
        forgetter.disconnect()
        await asyncio.to_thread(forgetter.loop_stop)


class KafkaTopic:
    """A topic of a mock cluster that lives in this process."""

    sensor = "kafka_topic"

    def __init__(self, producer: Any, servers: str) -> None:
        self._producer = producer
        self.name = _name()
        self.servers = servers
        self.settings = {"topic": self.name, "group": "tests", "servers": servers, "batch": 3}

    async def publish(self, values: Sequence[Any]) -> None:
        for value in values:
            self._producer.produce(self.name, json.dumps(value), key=str(value.get("order", "")))
        left = await asyncio.to_thread(self._producer.flush, 10)
        assert left == 0

    async def unacknowledged(self) -> int:
        """Records beyond the group's committed offsets."""
        return await asyncio.to_thread(self._behind)

    def _behind(self) -> int:
        from confluent_kafka import Consumer, TopicPartition

        consumer = Consumer({"bootstrap.servers": self.servers, "group.id": "tests"})
        try:
            found = consumer.list_topics(self.name, timeout=10).topics[self.name].partitions
            places = consumer.committed([TopicPartition(self.name, each) for each in found], timeout=10)
            ends = [consumer.get_watermark_offsets(place, timeout=10)[1] for place in places]
        finally:
            consumer.close()
        return sum(end - max(place.offset, 0) for end, place in zip(ends, places, strict=True))


@asynccontextmanager
async def kafka_topic() -> AsyncIterator[KafkaTopic]:
    confluent_kafka = pytest.importorskip("confluent_kafka")
    producer = confluent_kafka.Producer({"bootstrap.servers": "mock", "test.mock.num.brokers": 1})
    brokers = (await asyncio.to_thread(producer.list_topics, timeout=10)).brokers
    (broker,) = brokers.values()
    yield KafkaTopic(producer, f"{broker.host}:{broker.port}")
    producer.flush(1)


BROKERS = {
    "redis stream by cursor": lambda: redis_stream(None),
    "redis stream by group": lambda: redis_stream("tests"),
    "rabbitmq with ids": lambda: rabbitmq_queue(with_ids=True),
    "rabbitmq without ids": lambda: rabbitmq_queue(with_ids=False),
    "nats jetstream": nats_stream,
    "mqtt": mqtt_topic,
    "kafka": kafka_topic,
}
"""What each kind of broker is for a test, by name."""
