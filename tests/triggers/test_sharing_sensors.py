"""Three services share sensors out: a third each, again so when one dies or joins, and no look is made twice."""

from __future__ import annotations

import itertools
import json
import time
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
from headrace.store.database import Database
from headrace.store.sensors import sensor_views

from tests.support.sensors import (
    SensorProcess,
    sensor,
    sensor_process,
    sensor_service,
    shared_out,
    start_sensor_process,
    write_sensor,
)
from tests.support.triggers import write_triggers
from tests.support.waiting import until

LEASE = 2.0
INTERVAL = 0.6
SENSORS = 9
LOOKING = """
import json, os, pathlib, time
from headrace import sensor

@sensor(interval=0.6)
def look(n, repo_path, **kwargs):
    began = time.time()
    time.sleep(0.05)
    told = json.dumps({"n": n, "service": os.getppid(), "began": began, "ended": time.time()}) + "\\n"
    with pathlib.Path(repo_path, "looks").open("ab", buffering=0) as looks:
        looks.write(told.encode())
"""
WAITING = """
import asyncio
from headrace import Event, sensor

@sensor
async def waiting(cursor, n):
    number = cursor or 0
    while True:
        number += 1
        yield Event({"n": number}, cursor=number)
        await asyncio.sleep(0.05)
"""


@pytest.fixture
def shared_root(root: Path) -> Path:
    for number in range(SENSORS):
        write_sensor(root, f"s{number}", LOOKING)
    write_triggers(root, "orders", [sensor(f"s{n}", configuration={"n": n}) for n in range(SENSORS)])
    return root


@asynccontextmanager
async def services(root: Path, url: str, number: int) -> AsyncIterator[list[SensorProcess]]:
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(sensor_process(root, url, lease=LEASE)) for _ in range(number)]


def looks(root: Path) -> dict[int, list[dict[str, float]]]:
    """The looks of each sensor, in the order in which they began."""
    found: dict[int, list[dict[str, float]]] = defaultdict(list)
    for line in (root / "looks").read_text().splitlines():
        look = json.loads(line)
        found[look["n"]].append(look)
    return {n: sorted(listed, key=lambda look: look["began"]) for n, listed in found.items()}


def assert_no_look_was_made_twice(root: Path) -> None:
    for n, listed in looks(root).items():
        for earlier, later in itertools.pairwise(listed):
            assert later["began"] >= earlier["ended"], f"two looks of s{n} at once"
            assert later["began"] - earlier["began"] > INTERVAL / 2, f"s{n} was looked for again too soon"


async def test_each_of_three_services_has_a_third_also_of_those_that_came_first(
    database: Database, database_url: str, shared_root: Path
) -> None:
    async with services(shared_root, database_url, 1) as (first,):
        await until(lambda: shared_out(database), lambda out: out == {first.pid: SENSORS})
        async with services(shared_root, database_url, 2) as others:
            thirds = {service.pid: SENSORS // 3 for service in (first, *others)}
            await until(lambda: shared_out(database), lambda out: out == thirds)
            before = {n: len(listed) for n, listed in looks(shared_root).items()}
            await until(_looked(shared_root, {n: count + 4 for n, count in before.items()}))
            assert await shared_out(database) == thirds
    assert_no_look_was_made_twice(shared_root)


def _looked(root: Path, wanted: dict[int, int]):  # type: ignore[no-untyped-def]
    async def have_all() -> bool:
        found = looks(root)
        return all(len(found.get(n, ())) >= count for n, count in wanted.items())

    return have_all


async def test_the_sensors_of_a_killed_service_are_shared_out_within_its_lease_and_again_when_one_joins(
    database: Database, database_url: str, shared_root: Path
) -> None:
    async with services(shared_root, database_url, 3) as (one, two, three):
        thirds = {service.pid: 3 for service in (one, two, three)}
        await until(lambda: shared_out(database), lambda out: out == thirds)
        await two.kill()
        killed = time.monotonic()
        await until(lambda: shared_out(database), lambda out: 0 not in out and two.pid not in out)
        assert time.monotonic() - killed < LEASE + 1.0
        assert sorted((await shared_out(database)).values()) == [4, 5]
        joining = await start_sensor_process(shared_root, database_url, lease=LEASE)
        try:
            thirds = {service.pid: 3 for service in (one, three, joining)}
            await until(lambda: shared_out(database), lambda out: out == thirds)
            count = sum(map(len, looks(shared_root).values()))
            await until(_looked(shared_root, dict.fromkeys(range(SENSORS), 4 + count // SENSORS)))
        finally:
            await joining.kill()
    assert_no_look_was_made_twice(shared_root)


async def test_a_service_that_stood_still_finds_its_sensors_taken_and_looks_for_none_of_them(
    database: Database, database_url: str, shared_root: Path
) -> None:
    async with services(shared_root, database_url, 2) as (one, two):
        await until(lambda: shared_out(database), lambda out: sorted(out.values()) == [4, 5])
        two.pause()
        await until(lambda: shared_out(database), lambda out: out == {one.pid: SENSORS})
        await until(_looked(shared_root, {n: 3 + len(listed) for n, listed in looks(shared_root).items()}))
        two.go_on()
        await until(lambda: shared_out(database), lambda out: sorted(out.values()) == [4, 5])
        await until(_looked(shared_root, {n: 3 + len(listed) for n, listed in looks(shared_root).items()}))
    assert_no_look_was_made_twice(shared_root)


async def test_generators_move_to_a_service_that_joins_and_go_on_at_their_cursor(
    database: Database, database_url: str, root: Path
) -> None:
    names = ["w0", "w1", "w2", "w3"]
    for name in names:
        write_sensor(root, name, WAITING)
    write_triggers(root, "orders", [sensor(name, configuration={"n": 1}) for name in names])
    async with sensor_service(database, root, lease=LEASE) as watching:
        for name in names:
            await watching.until_events(name, 3)
        async with sensor_process(root, database_url, lease=LEASE) as joined:
            await until(lambda: shared_out(database), lambda out: out.get(joined.pid) == 2)
            for name in names:
                await watching.until_events(name, len(await watching.payloads(name)) + 5)
        for name in names:
            numbers = [payload["n"] for payload in await watching.payloads(name)]
            assert numbers == list(range(1, len(numbers) + 1)), name


async def test_what_another_service_does_not_know_is_left_to_the_one_that_does(
    database: Database, database_url: str, shared_root: Path
) -> None:
    """As while files of one service are newer: the other counts for a share that it does not take."""
    async with sensor_service(database, shared_root, lease=0.5) as one:
        project = one.stack.project.id
        await database.execute(
            "INSERT INTO headrace.service (id, host, pid, lease_until, looks_for) "
            "VALUES (gen_random_uuid(), 'elsewhere', 1, now() + interval '1 hour', ARRAY[$1::bigint])",
            project,
        )
        await until(lambda: shared_out(database), lambda out: out.get(0, 0) == SENSORS // 2)
        await until(lambda: sensor_views(database, project), lambda views: all(view.service for view in views))
