"""`headrace sensors`: what people and programs are told of each sensor, and how they steer it."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from headrace.store.database import Database

from tests.support.projects import write_pipeline, write_project
from tests.support.sensors import SensorService, sensor, sensor_service, write_sensor
from tests.support.triggers import write_triggers

COUNTING = """
from headrace import Event, sensor

@sensor(interval=0.1)
def counting(cursor):
    n = (cursor or 0) + 1
    return Event({"n": n}, key=str(n), cursor=n)
"""


class Commands:
    """Runs commands of the project's."""

    def __init__(self, root: Path, database_url: str) -> None:
        self._root = root
        self._environ = {**os.environ, "HEADRACE_DATABASE_URL": database_url, "COLUMNS": "160"}

    async def __call__(self, *words: str, code: int = 0) -> str:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "headrace", *words, "-p", str(self._root), env=self._environ,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        told, _ = await asyncio.wait_for(process.communicate(), 60)
        assert process.returncode == code, told.decode()
        return told.decode()

    async def json(self, *words: str) -> Any:
        return json.loads(await self(*words, "--json"))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = write_project(tmp_path / "shop")
    write_pipeline(root, "orders", {"load": []})
    write_sensor(root, "counting", COUNTING)
    write_sensor(root, "broken", "@sensor\ndef look():\n    raise ValueError('the [shop] is shut')\n")
    write_triggers(root, "orders", [sensor("counting"), sensor("broken")])
    return root


@asynccontextmanager
async def looking(database: Database, root: Path) -> AsyncIterator[SensorService]:
    """A service that has looked for both sensors."""
    async with sensor_service(database, root) as running:
        await running.until_events("counting", 3)
        await running.until("broken", lambda view: view.failures > 0)
        await running.until("counting", lambda view: view.looked_at is not None)
        yield running


@pytest.fixture
def headrace(root: Path, database_url: str) -> Commands:
    return Commands(root, database_url)


async def test_a_project_without_sensors_says_what_makes_one(headrace: Commands) -> None:
    assert "a trigger of the type sensor" in await headrace("sensors")


async def test_the_list_has_each_sensors_health(headrace: Commands, database: Database, root: Path) -> None:
    async with looking(database, root):
        told = await headrace("sensors")
        broken, counting = told.splitlines()[1:3]
        assert broken.split()[:2] == ["broken", "failing"]
        assert counting.split()[:2] == ["counting", "looking"]
        views = {view["name"]: view for view in await headrace.json("sensors")}
        assert views["counting"]["delivered"] >= 3
        assert views["counting"]["triggers"] == ["orders/counting"]
        assert views["broken"]["error"]["type"] == "ValueError"


async def test_a_sensors_last_error_is_shown_with_the_authors_line(
    headrace: Commands, database: Database, root: Path
) -> None:
    async with looking(database, root):
        told = await headrace("sensors", "show", "broken")
        assert "broken: failing" in told
        assert "1 failure in a row" in told
        assert 'sensors/broken.py", line 3, in look' in told
        assert "ValueError: the [shop] is shut" in told


async def test_a_sensor_is_paused_and_resumed(headrace: Commands, database: Database, root: Path) -> None:
    async with looking(database, root) as service:
        assert "headrace sensors resume counting" in (await headrace("sensor", "pause", "counting")).replace("\n", " ")
        assert (await service.view("counting")).state == "paused"
        before = await service.keys("counting")
        await headrace("sensors", "resume", "counting")
        await service.until_events("counting", len(before) + 1)


async def test_a_cursor_is_read_put_and_put_back(headrace: Commands, database: Database, root: Path) -> None:
    async with looking(database, root) as service:
        await headrace("sensors", "pause", "counting")
        now = await headrace.json("sensors", "cursor", "counting")
        assert now["cursor"] >= 3
        assert now["kept"][-1]["cursor"] == 1
        assert await headrace.json("sensors", "cursor", "counting", "--set", "70") == {"cursor": 70}
        assert (await service.view("counting")).cursor == 70
        assert "oldest" in await headrace("sensors", "cursor", "counting", "--rewind", "3d", code=2)
        assert await headrace("sensors", "cursor", "counting", "--clear") == "counting goes on from the beginning\n"
        assert await headrace.json("sensors", "cursor", "counting", "--rewind", "0s") == {"cursor": None}


async def test_what_cannot_be_done_is_told(headrace: Commands, database: Database, root: Path) -> None:
    async with looking(database, root):
        for words, told in (
            (("cursor", "counting", "--set", "{"), "is no JSON"),
            (("cursor", "counting", "--set", "1", "--clear"), "one of --set"),
            (("cursor", "counting", "--again"), "one of --set"),
            (("cursor", "counting", "--rewind", "soon"), "is no time"),
            (("pause", "countin"), "There is no sensor countin"),
        ):
            assert told in await headrace("sensors", *words, code=2)
