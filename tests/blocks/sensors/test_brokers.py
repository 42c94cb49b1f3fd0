"""Sensors of brokers against the real ones: nothing lost and nothing twice, wherever kill -9 falls."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from headrace.store.database import Database

from tests.support.brokers import BROKERS, ORDERS, Broker, KafkaTopic
from tests.support.projects import write_pipeline, write_project
from tests.support.sensors import sensor, sensor_service, write_sensor
from tests.support.triggers import write_triggers

KILLED_TWICE = """
import os, pathlib
from headrace import sensor
from headrace.sensors import {name}

@sensor
async def look(cursor, repo_path, **kwargs):
    taken = {{key: kwargs[key] for key in kwargs["configuration"]}}
    deaths = pathlib.Path(repo_path, "deaths")
    def die(number):
        if len(deaths.read_text()) == number if deaths.exists() else number == 0:
            with deaths.open("a") as file:
                file.write("x")
            os.kill(os.getpid(), 9)
    async for given in {name}(cursor, **taken):
        events = given[0] if isinstance(given, tuple) else given
        if events:
            die(0)
        yield given
        if events:
            die(1)
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = write_project(tmp_path / "project")
    write_pipeline(root, "orders", {"load": []})
    return root


@pytest.fixture(params=list(BROKERS))
async def broker(request: pytest.FixtureRequest) -> AsyncIterator[Broker]:
    async with BROKERS[request.param]() as opened:
        yield opened


async def until_acknowledged(broker: Broker) -> None:
    async with asyncio.timeout(20):
        while await broker.unacknowledged():
            await asyncio.sleep(0.1)


async def test_messages_are_events_once_and_acknowledged(broker: Broker, database: Database, root: Path) -> None:
    write_triggers(root, "orders", [sensor("messages", use=broker.sensor, configuration=broker.settings)])
    await broker.publish(ORDERS[:4])
    async with sensor_service(database, root) as service:
        await service.until_events("messages", 4)
        await broker.publish(ORDERS[4:])
        payloads = await service.until_events("messages", len(ORDERS))
        view = await service.view("messages")
        if isinstance(broker, KafkaTopic):  # its offsets are told to the broker a moment later, while it is read
            await until_acknowledged(broker)
    assert sorted(payloads, key=lambda payload: payload["order"]) == ORDERS
    assert (view.failures, view.error) == (0, None)
    await until_acknowledged(broker)


async def test_kill_9_before_and_after_the_commit_loses_nothing_and_repeats_nothing(
    broker: Broker, database: Database, root: Path
) -> None:
    write_sensor(root, "messages", KILLED_TWICE.format(name=broker.sensor))
    write_triggers(root, "orders", [sensor("messages", configuration=broker.settings)])
    await broker.publish(ORDERS)
    async with sensor_service(database, root) as service:
        await service.until_events("messages", len(ORDERS))
        await broker.publish([{"order": 100}])
        payloads = await service.until_events("messages", len(ORDERS) + 1)
        view = await service.view("messages")
        if isinstance(broker, KafkaTopic):  # its offsets are told to the broker a moment later, while it is read
            await until_acknowledged(broker)
    assert (root / "deaths").read_text() == "xx"
    assert view.error is not None
    assert view.error["kind"] == "died"
    assert sorted(payload["order"] for payload in payloads) == [*range(1, len(ORDERS) + 1), 100]
    runs = await database.fetchval("SELECT count(*) FROM headrace.run")
    assert runs == len(ORDERS) + 1
    await until_acknowledged(broker)


async def test_what_comes_while_nobody_looks_is_not_lost(broker: Broker, database: Database, root: Path) -> None:
    write_triggers(root, "orders", [sensor("messages", use=broker.sensor, configuration=broker.settings)])
    async with sensor_service(database, root) as service:
        await broker.publish(ORDERS[:1])
        await service.until_events("messages", 1)
    await broker.publish(ORDERS[1:])
    async with sensor_service(database, root) as service:
        payloads = await service.until_events("messages", len(ORDERS))
    assert sorted(payloads, key=lambda payload: payload["order"]) == ORDERS
