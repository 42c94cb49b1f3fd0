"""Records of a Kafka topic."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from typing import Any

from headrace.blocks.event import Event
from headrace.blocks.sensors.clients import client
from headrace.blocks.sensors.messages import payload_of

_POLL_MILLISECONDS = 1000


async def kafka_topic(
    cursor: Any = None,
    *,
    topic: str,
    group: str = "headrace",
    servers: str = "localhost:9092",
    start: str = "first",
    batch: int = 500,
    security: dict[str, str] | None = None,
) -> AsyncIterator[tuple[list[Event], Any]]:
    """An event for each record; its key is topic, partition, offset and time, its payload the record's value.

    The cursor maps each partition to the next offset and is what counts; the same offsets are committed to the broker
    for the `group`, after the events. `start` (first, new) tells where to begin in a partition that the cursor does not
    name. `security` goes to the client: security_protocol, sasl_mechanism, sasl_plain_username, sasl_plain_password.
    """
    aiokafka = client("aiokafka", "kafka")
    consumer = aiokafka.AIOKafkaConsumer(
        bootstrap_servers=servers,
        group_id=group,
        enable_auto_commit=False,
        auto_offset_reset="earliest" if start == "first" else "latest",
        client_id="headrace",
        **(security or {}),
    )
    places: dict[str, int] = dict(cursor) if isinstance(cursor, Mapping) else {}
    told: dict[str, int] = {}
    await consumer.start()
    try:
        while True:
            _assign(aiokafka, consumer, topic, places)
            await _tell(aiokafka, consumer, topic, places, told)
            fetched = await consumer.getmany(timeout_ms=_POLL_MILLISECONDS, max_records=batch)
            records = [record for found in fetched.values() for record in found]
            moved = await _moved(consumer, places)
            if not moved:
                continue
            places.update(moved)
            yield [_event(record) for record in records], dict(places)
    finally:
        await consumer.stop()


async def _tell(aiokafka: Any, consumer: Any, topic: str, places: Mapping[str, int], told: dict[str, int]) -> None:
    """Commit to the broker what the cursor has, also what a killed one before us did not come to commit."""
    news = {number: offset for number, offset in places.items() if told.get(number) != offset}
    if news:
        await consumer.commit({aiokafka.TopicPartition(topic, int(number)): offset for number, offset in news.items()})
        told.update(news)


async def _moved(consumer: Any, places: Mapping[str, int]) -> dict[str, int]:
    """The next offset of each partition where it is another than is kept; of a new one too, so that it is kept."""
    now = {str(place.partition): await consumer.position(place) for place in consumer.assignment()}
    return {partition: offset for partition, offset in now.items() if places.get(partition) != offset}


def _assign(aiokafka: Any, consumer: Any, topic: str, places: Mapping[str, int]) -> None:
    """Take every partition that is known by now, where the cursor left off.

    No member of a group: one service holds the sensor, and the next one need not wait until a group misses the dead.
    """
    numbers = {0, *map(int, places), *(consumer.partitions_for_topic(topic) or ())}
    known = {aiokafka.TopicPartition(topic, number) for number in numbers}
    if known == consumer.assignment():
        return
    consumer.assign(known)
    for place in known:
        if str(place.partition) in places:
            consumer.seek(place, places[str(place.partition)])


def _event(record: Any) -> Event:
    own = {name: value.decode(errors="replace") for name, value in record.headers if value is not None}
    place = {"topic": record.topic, "partition": str(record.partition), "offset": str(record.offset)}
    if record.key is not None:
        place["key"] = record.key.decode(errors="replace")
    key = f"{record.topic}:{record.partition}:{record.offset}@{record.timestamp}"
    occurred_at = datetime.fromtimestamp(record.timestamp / 1000, UTC) if record.timestamp > 0 else None
    return Event(payload_of(record.value), key, occurred_at, {**own, **place})
