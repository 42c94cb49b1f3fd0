"""The built-in sensors, for authors' own: `from headrace.sensors import redis_stream`. Names resolve at first use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from headrace.blocks.sensors.catalog import BUILT_IN, built_in

if TYPE_CHECKING:
    from headrace.blocks.sensors.files import file_arrival
    from headrace.blocks.sensors.http import http_poll
    from headrace.blocks.sensors.kafka import kafka_topic
    from headrace.blocks.sensors.mqtt import mqtt_topic
    from headrace.blocks.sensors.nats import nats_jetstream
    from headrace.blocks.sensors.postgres import postgres_notifications, postgres_outbox, postgres_rows
    from headrace.blocks.sensors.rabbitmq import rabbitmq_queue
    from headrace.blocks.sensors.redis import redis_stream
    from headrace.blocks.sensors.runs import pipeline_success

__all__ = [
    "file_arrival",
    "http_poll",
    "kafka_topic",
    "mqtt_topic",
    "nats_jetstream",
    "pipeline_success",
    "postgres_notifications",
    "postgres_outbox",
    "postgres_rows",
    "rabbitmq_queue",
    "redis_stream",
]


def __getattr__(name: str) -> Any:
    if name not in BUILT_IN:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return built_in(name)
