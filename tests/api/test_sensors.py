"""Sensors over HTTP: their health, pausing them, and putting their cursors; another service looks for them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from headrace.api.hiding import without_secrets

from tests.support.api import Api
from tests.support.sensors import SensorService, sensor, sensor_service, write_sensor
from tests.support.triggers import write_triggers

COUNTING = """
from headrace import Event, sensor

@sensor(interval=0.05)
def counting(cursor, **kwargs):
    n = (cursor or 0) + 1
    return Event({"n": n}, key=str(n), cursor=n)
"""
BROKEN = "@sensor(interval=0.05)\ndef look(**kwargs):\n    raise ValueError('the [shop] is shut')\n"


@asynccontextmanager
async def looking(api: Api) -> AsyncIterator[SensorService]:
    """A service that looks for two sensors of the API's project."""
    root = api.headrace.project.root
    write_sensor(root, "counting", COUNTING)
    write_sensor(root, "broken", BROKEN)
    secret = {"url": "redis://me:canary@localhost/0", "api_key": "canary", "nested": [{"password": "canary"}]}
    write_triggers(root, "orders", [sensor("counting", configuration=secret), sensor("broken")])
    async with sensor_service(api.headrace.database, root) as service:
        await service.until_events("counting", 2)
        yield service


async def shown(api: Api, name: str) -> dict[str, Any]:
    return next(item for item in (await api.get("/api/v1/sensors"))["items"] if item["name"] == name)


async def until(api: Api, name: str, holds: Any) -> dict[str, Any]:
    """A sensor, once something holds of it."""
    async with asyncio.timeout(20):
        while not holds(view := await shown(api, name)):
            await asyncio.sleep(0.02)
    return view


async def test_the_health_of_each_sensor_is_told_and_no_secret(api: Api):
    async with looking(api):
        broken = await until(api, "broken", lambda view: view["failures"] > 1)
        counting = await until(api, "counting", lambda view: view["looked_at"] is not None)
        assert (broken["state"], broken["delivered"], broken["triggers"]) == ("failing", 0, ["orders/broken"])
        assert "the [shop] is shut" in json.dumps(broken["error"])
        assert (counting["state"], counting["project"], counting["failures"]) == ("looking", "shop", 0)
        assert counting["cursor"] >= 2
        assert counting["delivered"] >= 2
        assert counting["service"].rpartition(":")[2].isdigit()
        told = await api.get(f"/api/v1/sensors/{counting['id']}")
        assert told["settings"]["configuration"]["url"] == "redis://me:***@localhost/0"
        assert "canary" not in json.dumps(told)
        assert "canary" not in json.dumps(await api.get("/api/v1/triggers"))
    await until(api, "counting", lambda view: view["state"] == "waiting")
    assert (await api.get("/api/v1/sensors/4711", status=404))["code"] == "unknown-sensor"


async def test_a_sensor_is_paused_and_resumed(api: Api):
    async with looking(api) as service:
        path = f"/api/v1/sensors/{(await shown(api, 'counting'))['id']}"
        paused = await api.post(f"{path}/pause", status=200)
        assert (paused["state"], paused["service"]) == ("paused", None)
        assert paused["paused_at"] is not None
        assert (await api.get(path))["delivered"] == paused["delivered"]
        assert (await api.post(f"{path}/resume", status=200))["state"] == "waiting"
        await service.until_events("counting", paused["delivered"] + 2)


async def test_a_cursor_is_put_rewound_and_cleared(api: Api):
    async with looking(api) as service:
        path = f"/api/v1/sensors/{(await shown(api, 'counting'))['id']}"
        put = await api.call("PUT", f"{path}/cursor", status=200, json={"cursor": 1000})
        assert put["cursor"] == 1000
        await until(api, "counting", lambda view: view["cursor"] > 1001)
        kept = await api.get(f"{path}/cursors")
        assert 1000 in [item["cursor"] for item in kept["items"]]
        oldest = kept["items"][-1]
        back = await api.post(f"{path}/rewind", {"to": oldest["kept_at"]}, status=200)
        assert back["cursor"] == oldest["cursor"]
        keys = await service.keys("counting")
        assert len(keys) == len(set(keys))
        await api.call("PUT", f"{path}/cursor", status=200, json={"cursor": None, "again": True})
        async with asyncio.timeout(20):
            while "1#1" not in await service.keys("counting"):
                await asyncio.sleep(0.02)


async def test_what_cannot_be_put_is_told(api: Api):
    async with looking(api):
        path = f"/api/v1/sensors/{(await shown(api, 'counting'))['id']}"
        early = (datetime.now(UTC) - timedelta(days=400)).isoformat()
        assert (await api.post(f"{path}/rewind", {"to": early}, status=409))["code"] == "no-such-cursor"
        for body in ({}, {"to": early, "back": 3}, {"back": -1}, {"to": "0001-01-01T00:00:00+14:00"}):
            await api.post(f"{path}/rewind", body, status=422)
        for body in ({}, {"cursor": "\0"}, {"cursor": 1, "extra": 1}):
            await api.call("PUT", f"{path}/cursor", status=422, json=body)
        assert (await api.get(path))["state"] == "looking"


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("postgresql://a:b@h/x", "postgresql://a:***@h/x"),
        ("see https://u:p@h and http://h:80/x@y", "see https://u:***@h and http://h:80/x@y"),
        ("amqp://:p@ss@h", "amqp://:***@h"),
        ({"Authorization": "x", "n": 3, "apikey": ["a"]}, {"Authorization": "***", "n": 3, "apikey": "***"}),
        ([{"token": ""}], [{"token": ""}]),
        ({"secrets": {"a": "b"}, "has_token": True}, {"secrets": "***", "has_token": True}),
    ],
)  # fmt: skip
def test_secrets_are_known_by_their_keys_and_in_addresses(given: Any, told: Any):
    assert without_secrets(given) == told
