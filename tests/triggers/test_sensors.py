"""Sensors of one and of several services: events with their cursor, once; nobody waits for another; people's wishes."""

from __future__ import annotations

import asyncio
import itertools
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from headrace.store.database import Database
from headrace.store.sensors import (
    NoSuchCursor,
    UnknownSensor,
    kept_cursors,
    pause_sensor,
    resume_sensor,
    rewind_sensor,
    set_sensor_cursor,
)

from tests.support.sensors import sensor, sensor_process, sensor_service, start_sensor_process, write_sensor
from tests.support.triggers import write_triggers

COUNTING = """
from headrace import Event, sensor

@sensor(interval=0.1)
def counting(cursor):
    n = (cursor or 0) + 1
    return Event({"n": n}, key=str(n), cursor=n)
"""
STREAMING = """
import asyncio, pathlib
from headrace import Event, sensor

@sensor
async def streaming(cursor, repo_path):
    n = cursor or 0
    acknowledged = pathlib.Path(repo_path, "acknowledged")
    while True:
        n += 1
        yield Event({"n": n}, cursor=n)
        with acknowledged.open("a") as file:
            file.write(f"{n}\\n")
        await asyncio.sleep(0.01)
"""


async def test_each_event_of_a_sensor_makes_a_run_and_moves_the_cursor(database: Database, root: Path) -> None:
    write_sensor(root, "counting", COUNTING)
    write_triggers(root, "orders", [{**sensor("counting"), "variables": {"n": "{{ event.n }}"}}])
    async with sensor_service(database, root) as service:
        payloads = await service.until_events("counting", 3)
        view = await service.view("counting")
    assert payloads[:3] == [{"n": 1}, {"n": 2}, {"n": 3}]
    assert view.cursor >= 3
    assert (view.state, view.triggers) == ("looking", ("orders/counting",))
    runs = await database.fetch("SELECT variables FROM headrace.run ORDER BY id LIMIT 3")
    assert [row["variables"]["n"] for row in runs] == [1, 2, 3]
    assert len(service.stack.made) >= 3


async def test_a_true_value_is_one_event_at_each_look(database: Database, root: Path) -> None:
    write_sensor(root, "level", "from headrace import sensor\n@sensor(interval=0.1)\ndef level():\n    return True\n")
    write_triggers(root, "orders", [sensor("level")])
    async with sensor_service(database, root) as service:
        await service.until_events("level", 3)
        keys = await service.keys("level")
    assert len(set(keys)) == len(keys)


async def test_a_blocking_and_an_endless_and_an_async_slow_sensor_delay_no_other(
    database: Database, root: Path
) -> None:
    write_sensor(root, "sleeping", "import time\n@sensor(interval=0.1)\ndef look():\n    time.sleep(60)\n")
    write_sensor(root, "endless", "@sensor(interval=0.1)\ndef look():\n    while True: pass\n")
    write_sensor(
        root, "slow", "import asyncio\n@sensor(interval=0.1)\nasync def look():\n    await asyncio.sleep(60)\n"
    )
    stamping = "import time\n@sensor\ndef look():\n    return {'at': time.time()}\n"
    write_sensor(root, "punctual", stamping)
    triggers = [sensor(name) for name in ("sleeping", "endless", "slow")]
    write_triggers(root, "orders", [*triggers, sensor("punctual", interval=0.5)])
    async with sensor_service(database, root) as service:
        payloads = await service.until_events("punctual", 8)
    times = [payload["at"] for payload in payloads[1:]]
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert sum(gaps) / len(gaps) == pytest.approx(0.5, rel=0.1)
    assert max(gaps) < 1.0


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ("    import time; time.sleep(60)", "timeout"),
        ("    while True: pass", "timeout"),
        ("    import os; os._exit(3)", "died"),
        ("    print('about to'); raise ValueError('no')", "raised"),
    ],
)
async def test_a_sensor_that_fails_backs_off_and_tells_why(
    database: Database, root: Path, body: str, kind: str
) -> None:
    write_sensor(root, "bad", f"@sensor(interval=0.1)\ndef look():\n{body}\n")
    write_triggers(root, "orders", [sensor("bad", deadline=0.5 if kind == "timeout" else 60.0)])
    async with sensor_service(database, root) as service:
        view = await service.until("bad", lambda view: view.failures >= 2)
    assert view.state == "failing"
    assert view.error is not None
    assert view.error["kind"] == kind
    assert view.next_look_at is not None
    assert view.looked_at is not None
    assert view.next_look_at > view.looked_at
    if kind == "raised":
        assert "ValueError: no" in view.error["text"]
        assert view.error["printed"] == ["about to"]


async def test_a_generator_whose_event_loop_stands_still_is_ended_and_a_quiet_one_is_not(
    database: Database, root: Path
) -> None:
    write_sensor(root, "stuck", "@sensor\nasync def look():\n    while True: pass\n    yield\n")
    quiet = "import asyncio\n@sensor\nasync def look():\n    await asyncio.sleep(2.5)\n    yield {'at': 'last'}\n"
    write_sensor(root, "quiet", quiet)
    write_triggers(root, "orders", [sensor("stuck", deadline=1.5), sensor("quiet", deadline=1.5)])
    async with sensor_service(database, root) as service:
        assert (await service.until_events("quiet", 1))[0] == {"at": "last"}
        stuck = await service.until("stuck", lambda view: view.failures > 0)
        quiet_view = await service.view("quiet")
    assert stuck.error is not None
    assert stuck.error["kind"] == "timeout"
    assert "said nothing" in stuck.error["message"]
    assert quiet_view.failures == 0


async def test_a_sensor_without_a_file_fails_alone_and_works_once_the_file_is_there(
    database: Database, root: Path
) -> None:
    write_triggers(root, "orders", [sensor("counting", interval=0.2)])
    async with sensor_service(database, root) as service:
        view = await service.until("counting", lambda view: view.failures > 0)
        assert view.error is not None
        assert "sensors/counting.py" in view.error["message"]
        write_sensor(root, "counting", COUNTING)
        await service.until_events("counting", 1)
        assert (await service.until("counting", lambda view: view.failures == 0)).state == "looking"


async def test_two_triggers_that_configure_a_sensor_differently_are_told_of_each_other(
    database: Database, root: Path
) -> None:
    write_sensor(root, "counting", COUNTING)
    one = sensor("counting", interval=5)
    write_triggers(root, "orders", [one, {**sensor("counting", interval=6), "name": "other"}])
    async with sensor_service(database, root) as service:
        view = await service.until("counting", lambda view: view.failures > 0)
    assert view.error is not None
    assert "orders/counting and orders/other" in view.error["message"]


async def test_a_sensor_follows_its_file_and_its_trigger(database: Database, root: Path) -> None:
    write_sensor(root, "streaming", STREAMING)
    write_triggers(root, "orders", [sensor("streaming")])
    async with sensor_service(database, root) as service:
        await service.until_events("streaming", 3)
        write_sensor(root, "streaming", STREAMING.replace('{"n": n}', '{"n": n, "new": True}'))
        async with asyncio.timeout(20):
            while not (await service.payloads("streaming"))[-1].get("new"):
                await asyncio.sleep(0.02)
        write_triggers(root, "orders", [])
        await service.until("streaming", lambda view: view.state == "unheard" and view.service is None)
        payloads = await service.payloads("streaming")
    assert [payload["n"] for payload in payloads] == list(range(1, len(payloads) + 1))


async def test_what_stands_behind_a_yield_runs_only_after_its_commit(database: Database, root: Path) -> None:
    write_sensor(root, "streaming", STREAMING)
    write_triggers(root, "orders", [sensor("streaming")])
    async with sensor_service(database, root) as service:
        await service.until_events("streaming", 2)
        async with database.transaction() as connection:
            await connection.execute("LOCK TABLE headrace.event IN EXCLUSIVE MODE")
            await asyncio.sleep(0.3)
            acknowledged = (root / "acknowledged").read_text().split()
            accepted = await connection.fetchval("SELECT count(*) FROM headrace.event")
        assert len(acknowledged) <= accepted


async def test_a_paused_sensor_gives_nothing_and_goes_on_from_its_cursor(database: Database, root: Path) -> None:
    write_sensor(root, "counting", COUNTING)
    write_triggers(root, "orders", [sensor("counting")])
    async with sensor_service(database, root) as service:
        project = service.stack.project.id
        await service.until_events("counting", 2)
        await pause_sensor(database, project, "counting")
        before = await service.keys("counting")
        view = await service.view("counting")
        assert (view.state, view.service) == ("paused", None)
        await asyncio.sleep(0.5)
        assert await service.keys("counting") == before
        await resume_sensor(database, project, "counting")
        await service.until_events("counting", len(before) + 2)
        keys = await service.keys("counting")
    assert keys == [str(n) for n in range(1, len(keys) + 1)]


async def test_a_cursor_that_is_put_counts_at_once_and_known_keys_make_no_second_run_unless_asked(
    database: Database, root: Path
) -> None:
    write_sensor(root, "counting", COUNTING)
    write_triggers(root, "orders", [sensor("counting")])
    async with sensor_service(database, root) as service:
        project = service.stack.project.id
        await service.until_events("counting", 3)
        await set_sensor_cursor(database, project, "counting", 100, again=False)
        await service.until("counting", lambda view: view.cursor >= 102)
        assert {"101", "102"} <= set(await service.keys("counting"))

        await set_sensor_cursor(database, project, "counting", 0, again=False)
        await service.until("counting", lambda view: 3 <= view.cursor < 100)
        assert (await service.keys("counting")).count("2") == 1
        runs = await database.fetchval("SELECT count(*) FROM headrace.run WHERE variables #>> '{event,n}' = '2'")
        assert runs == 1

        await set_sensor_cursor(database, project, "counting", 0, again=True)
        await service.until("counting", lambda view: 3 <= view.cursor < 100)
        await service.until_events("counting", 8)
        runs = await database.fetchval("SELECT count(*) FROM headrace.run WHERE variables #>> '{event,n}' = '2'")
    assert runs == 2


async def test_a_cursor_can_be_put_back_to_where_it_was(database: Database, root: Path) -> None:
    write_sensor(root, "counting", COUNTING)
    write_triggers(root, "orders", [sensor("counting")])
    async with sensor_service(database, root) as service:
        project = service.stack.project.id
        await service.until_events("counting", 5)
        kept = (await kept_cursors(database, project, "counting"))[-1]
        assert kept.cursor == 1
        await pause_sensor(database, project, "counting")
        back = await rewind_sensor(database, project, "counting", datetime.now(UTC), again=False)
        assert back == kept
        assert (await service.view("counting")).cursor == 1
        with pytest.raises(NoSuchCursor, match="oldest"):
            await rewind_sensor(database, project, "counting", datetime.now(UTC) - timedelta(days=1), again=False)
        with pytest.raises(UnknownSensor, match="counting"):
            await pause_sensor(database, project, "nobody")


async def test_of_three_services_one_looks_for_each_sensor(database: Database, root: Path) -> None:
    names = [f"s{n}" for n in range(6)]
    for name in names:
        write_sensor(root, name, "import os\n@sensor(interval=0.1)\ndef look():\n    return {'pid': os.getppid()}\n")
    write_triggers(root, "orders", [sensor(name) for name in names])
    async with (
        sensor_service(database, root) as one,
        sensor_service(database, root),
        sensor_service(database, root),
    ):
        for name in names:
            await one.until_events(name, 4)
        for name in names:
            assert len({payload["pid"] for payload in await one.payloads(name)}) == 1, name


@pytest.mark.alone
@pytest.mark.parametrize("name", ["counting", "streaming"])
async def test_kill_9_of_the_owner_loses_nothing_and_repeats_nothing(
    database: Database, database_url: str, root: Path, name: str
) -> None:
    write_sensor(root, name, COUNTING if name == "counting" else STREAMING)
    write_triggers(root, "orders", [sensor(name)])
    lease = 1.0
    async with sensor_service(database, root, lease=lease, poll=0.1) as watching:
        await pause_sensor(database, watching.stack.project.id, name)
    first = await start_sensor_process(root, database_url, lease=lease)
    await resume_sensor(database, watching.stack.project.id, name)
    seen = len(await watching.until_events(name, 3))
    async with sensor_process(root, database_url, lease=lease):
        for _ in range(3):
            await first.kill()
            killed = time.monotonic()
            seen = len(await watching.until_events(name, len(await watching.payloads(name)) + 1, within=30))
            took = time.monotonic() - killed
            assert took < lease + 2.0
            first = await start_sensor_process(root, database_url, lease=lease)
        await first.kill()
    numbers = [payload["n"] for payload in await watching.payloads(name)]
    assert numbers == list(range(1, len(numbers) + 1))
    assert len(numbers) >= seen
    view = await watching.view(name)
    assert view.cursor == numbers[-1]


async def test_an_owner_that_stood_still_too_long_commits_nothing_when_it_goes_on(
    database: Database, database_url: str, root: Path
) -> None:
    write_sensor(root, "streaming", STREAMING)
    write_triggers(root, "orders", [sensor("streaming")])
    async with sensor_process(root, database_url, lease=0.6) as first:
        async with asyncio.timeout(20):
            while not await database.fetchval("SELECT count(*) > 3 FROM headrace.event"):
                await asyncio.sleep(0.02)
        first.pause()
        async with sensor_service(database, root, lease=2.0) as second:
            await second.until("streaming", lambda view: view.service is not None)
            before = len(await second.payloads("streaming"))
            await second.until_events("streaming", before + 5)
            first.go_on()
            await second.until_events("streaming", before + 60)
            numbers = [payload["n"] for payload in await second.payloads("streaming")]
    assert numbers == list(range(1, len(numbers) + 1))
