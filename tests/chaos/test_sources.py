"""What a storm compares of slots, sensors' positions and deliveries: a small good history is broken in one way at a time."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from headrace.store.database import Database

from tests.chaos.feed import Feed
from tests.chaos.posting import SIGNED, Delivery, Post
from tests.chaos.timetable import Timetable
from tests.support.projects import write_pipeline, write_project
from tests.support.schedules import utc

TIMETABLE = Timetable(utc("2026-01-01T00:00:00"), utc("2026-01-01T00:00:06"))
DELIVERY = Delivery(SIGNED, "d1", {"n": 1})
RUN = 43
ANSWER = {
    "event": 42,
    "run": RUN,
    "runs": [RUN],
    "fates": [{"trigger": 1, "fate": "run", "reason": None, "run": RUN}],
}

PROJECT = """
INSERT INTO headrace.project (path, name) VALUES ('/p', 'p');
INSERT INTO headrace.pipeline_version (hash, pipeline, definition) VALUES ('v', 'p', '{}');
INSERT INTO headrace.trigger (project_id, pipeline, name, kind, origin, source, status, definition)
VALUES (1, 'p', 't', 'webhook', 'file', 's', 'active', '{}');
"""
RUNS = """
INSERT INTO headrace.run (project_id, pipeline, version, trigger_id, variables)
SELECT 1, 'p', 'v', 1, json_build_object('event', payload) FROM headrace.event ORDER BY id;
INSERT INTO headrace.event_fate (event_id, trigger_id, fate, run_id) SELECT id, 1, 'run', id FROM headrace.event;
"""
"""A run for each event, under the event's own number."""
SLOTS = """
INSERT INTO headrace.event (project_id, source, kind, key, occurred_at)
SELECT 1, 'schedule:timed/' || name, 'slot', n::text, '2026-01-01T00:00:00Z'::timestamptz + n * interval '1 second'
FROM (VALUES ('each_second', 1), ('spread', 2), ('last', 3)) AS line (name, step), generate_series(0, 6, step) AS n
ORDER BY name, n;
"""
POSITIONS = """
INSERT INTO headrace.event (project_id, source, kind, key, payload, occurred_at)
SELECT 1, 'sensor:' || name, 'sensor', n::text, json_build_object('n', n), now()
FROM unnest('{polled,streamed,queued}'::text[]) AS name, generate_series(1, 2) AS n ORDER BY name, n;
"""
DELIVERIES = f"""
INSERT INTO headrace.event (id, project_id, source, kind, key, payload, occurred_at)
OVERRIDING SYSTEM VALUE VALUES (42, 1, 'webhook:{SIGNED}', 'push', 'd1', '{{"n": 1}}', now());
INSERT INTO headrace.run (id, project_id, pipeline, version, trigger_id, variables)
OVERRIDING SYSTEM VALUE VALUES ({RUN}, 1, 'p', 'v', 1, '{{"event": {{"n": 1}}}}');
INSERT INTO headrace.event_fate (event_id, trigger_id, fate, run_id) VALUES (42, 1, 'run', {RUN});
"""


async def broken(database: Database, history: str, breach: str, find: Any) -> list[str]:
    """What is found after a breach."""
    async with database.connection() as connection:
        await connection.execute("SET session_replication_role = replica")  # the database itself would refuse some
        try:
            await connection.execute(PROJECT + history + breach)
            found: list[str] = await find(connection)
            return found
        finally:
            await connection.execute("RESET session_replication_role")


@pytest.mark.parametrize(
    ("breach", "told"),
    [
        ("", []),
        ("DELETE FROM headrace.event WHERE source LIKE '%spread' AND key = '2'", ["a slot of spread is missing: 2026-01-01 00:00:02+00:00"]),
        ("DELETE FROM headrace.event WHERE source LIKE '%last' AND key = '3'", []),
        ("DELETE FROM headrace.event WHERE source LIKE '%last' AND key = '6'", ["a slot of last is missing: 2026-01-01 00:00:06+00:00"]),
        (
            "UPDATE headrace.event SET occurred_at = occurred_at + interval '1 hour' WHERE source LIKE '%last' AND key = '0'",
            ["last has no such slot: 2026-01-01 01:00:00+00:00"],
        ),
        (
            "UPDATE headrace.event SET occurred_at = '2026-01-01T00:00:06Z' WHERE source LIKE '%last' AND key = '0'",
            ["a slot of last is 2 events: 2026-01-01 00:00:06+00:00"],
        ),
        (
            "DELETE FROM headrace.event_fate USING headrace.event e WHERE e.id = event_id AND source LIKE '%last' AND key = '0'",
            ["a slot of last has the fates [None]: 2026-01-01 00:00:00+00:00"],
        ),
    ],
)  # fmt: skip
async def test_slots_are_held_against_the_timetable(database: Database, breach: str, told: list[str]):
    assert await broken(database, SLOTS + RUNS, breach, TIMETABLE.faults) == told


async def test_a_timetable_is_over_when_every_schedule_has_had_its_last_slot(database: Database):
    async with database.connection() as connection:
        await connection.execute(PROJECT)
        state = "INSERT INTO headrace.schedule_state (project_id, source, pattern, last_slot) VALUES (1, $1, '', $2)"
        for name, early in (("each_second", 0), ("spread", 0), ("last", 1)):
            last = TIMETABLE.end - timedelta(seconds=early)
            await connection.execute(state, f"schedule:timed/{name}", last)
        assert not await TIMETABLE.is_over(connection)
        await connection.execute("UPDATE headrace.schedule_state SET last_slot = $1", TIMETABLE.end)
        assert await TIMETABLE.is_over(connection)


def test_a_timetable_begins_and_ends_where_every_schedule_has_a_slot():
    timetable = Timetable.of(utc("2026-01-01T00:00:04.5"), 20)
    assert (timetable.begin, timetable.end) == (utc("2026-01-01T00:00:06"), utc("2026-01-01T00:00:24"))
    assert {timetable.slots(name)[-1] for name in ("each_second", "spread", "last")} == {timetable.end}


@pytest.fixture
def feed(tmp_path: Path) -> Feed:
    """A feed whose sensors have looked at both of its positions."""
    root = write_project(tmp_path / "project")
    for pipeline in ("sensed", "sensed_together"):
        write_pipeline(root, pipeline, {"only": ()})
    feed = Feed(tmp_path)
    feed.write_sensors(root)
    for _ in range(2):
        feed.write_next()
    for message in feed.queue.iterdir():
        message.unlink()
    return feed


@pytest.mark.parametrize(
    ("breach", "told"),
    [
        ("", []),
        ("DELETE FROM headrace.event WHERE source = 'sensor:queued' AND key = '1'", ["sensor queued told 0 times of position 1"]),
        (
            "UPDATE headrace.event SET payload = '{\"n\": 1}' WHERE source = 'sensor:queued'",
            ["sensor queued told 2 times of position 1", "sensor queued told 0 times of position 2"],
        ),
        (
            "UPDATE headrace.event SET payload = json_build_object('n', 3 - (payload ->> 'n')::int) WHERE source = 'sensor:polled'",
            ["sensor polled told of its positions out of order: [2, 1]"],
        ),
        (
            "UPDATE headrace.event SET payload = '{\"n\": 7}' WHERE source = 'sensor:polled' AND key = '2'",
            ["sensor polled told 0 times of position 2", "sensor polled told of position 7, which never was"],
        ),
        (
            "UPDATE headrace.event_fate f SET fate = 'dead', run_id = NULL FROM headrace.event e WHERE e.id = event_id AND source = 'sensor:polled' AND key = '1'",
            ["position 1 of sensor polled has the fates ['dead']"],
        ),
    ],
)  # fmt: skip
async def test_positions_are_held_against_what_sensors_told(
    database: Database, feed: Feed, breach: str, told: list[str]
):
    assert await broken(database, POSITIONS + RUNS, breach, feed.faults) == told


async def test_a_message_that_nobody_took_is_told(database: Database, feed: Feed):
    feed.write_next()
    (feed.queue / "000003").rename(feed.queue / "000002")
    feed.positions = 2
    found = await broken(database, POSITIONS + RUNS, "", feed.faults)
    assert found == ["a message is still in the queue: 000002"]
    async with database.connection() as connection:
        assert not await feed.is_read(connection)


@pytest.mark.parametrize(
    ("breach", "told"),
    [
        ("", None),
        ("DELETE FROM headrace.event", "the delivery d1 has 0 events with runs"),
        (
            f"INSERT INTO headrace.event_fate (event_id, trigger_id, fate, run_id) VALUES (42, 2, 'run', {RUN})",
            "the delivery d1 has 2 events with runs",
        ),
        ("UPDATE headrace.event SET key = 'other'", "an event was never sent: webhook:signed/by/github other"),
        ("UPDATE headrace.event_fate SET fate = 'dead', run_id = NULL", "is recorded as {'event': 42, 'runs': [None]}"),
        ("UPDATE headrace.run SET variables = '{\"event\": {}}'", "the delivery d1 was {'n': 1}, its run got {}"),
        ("UPDATE headrace.run SET trigger_id = 7", "its run got None"),
    ],
)  # fmt: skip
async def test_deliveries_are_held_against_what_is_recorded(database: Database, breach: str, told: str | None):
    post = Post({DELIVERY: []})
    post.note(DELIVERY, ANSWER)
    found = await broken(database, DELIVERIES, breach, post.delivery_faults)
    assert any(told in fault for fault in found) if told else found == []


@pytest.mark.parametrize("change", [{"event": 41}, {"run": 1}, {"runs": [RUN, 44]}, {"fates": []}])
def test_the_same_delivery_must_get_the_same_answer(change: Mapping[str, Any]):
    post = Post({DELIVERY: []})
    post.note(DELIVERY, ANSWER)
    post.note(DELIVERY, {**ANSWER, "ended": []})
    assert post.faults == []
    post.note(DELIVERY, {**ANSWER, **change})
    assert len(post.faults) == 1


def test_only_a_service_that_cannot_say_may_refuse():
    post = Post({DELIVERY: []})
    post.note_refusal(DELIVERY, 503, "not yet")
    assert post.faults == []
    post.note_refusal(DELIVERY, 500, "oh")
    assert post.faults == ["the delivery d1 was answered with 500: oh"]
