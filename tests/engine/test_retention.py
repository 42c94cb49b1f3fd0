"""What is older than it is to be kept goes, and nothing else; writers never wait for it."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta

import pytest
from headrace.domain.retention import ProjectRetention, Retention
from headrace.engine.clock import SystemClock
from headrace.engine.retention import Retainer
from headrace.store.database import Database
from headrace.store.logs import StoredLine, store_log_lines
from headrace.store.retention import drop_log_days, make_log_days

DAY = 86400.0


@pytest.fixture
async def project(database: Database) -> int:
    await database.execute("INSERT INTO headrace.pipeline_version (hash, pipeline, definition) VALUES ('h', 'p', '{}')")
    found = await database.fetchval("INSERT INTO headrace.project (path, name) VALUES ('/p', 'p') RETURNING id")
    return int(found)


async def ended(database: Database, project: int, days_ago: float, pipeline: str = "p", *, size: int = 100) -> int:
    """A run that ended so long ago, with a block, an output, a log line and an attempt."""
    run = int(
        await database.fetchval(
            "INSERT INTO headrace.run (project_id, pipeline, version, status, finished_at)"
            " VALUES ($1, $2, 'h', 'completed', now() - $3 * interval '1 day') RETURNING id",
            project, pipeline, days_ago,
        )
    )  # fmt: skip
    await database.execute("INSERT INTO headrace.block_run (run_id, block, position) VALUES ($1, 'b', 0)", run)
    await database.execute(
        "INSERT INTO headrace.output (run_id, block, position, attempt, codec, bytes, content)"
        " VALUES ($1, 'b', 0, 1, 'json', $2, '1')",
        run, size,
    )  # fmt: skip
    await store_log_lines(database, [line(run, datetime.now(UTC) - timedelta(days=days_ago))])
    return run


def line(run: int, at: datetime, seq: int = 1) -> StoredLine:
    return StoredLine(run, "b", 1, 1, seq, at, "stdout", "INFO", "text")


async def left(database: Database, table: str, column: str = "run_id") -> set[int]:
    return {row[0] for row in await database.fetch(f"SELECT DISTINCT {column} FROM headrace.{table}")}


async def sweep(database: Database, project: int, retention: ProjectRetention) -> None:
    await Retainer(database, project, lambda: retention, SystemClock()).sweep()


async def test_nothing_goes_where_nothing_is_said(database: Database, project: int) -> None:
    run = await ended(database, project, 4000)
    await sweep(database, project, ProjectRetention())
    assert (
        await left(database, "output") == await left(database, "log_line") == await left(database, "run", "id") == {run}
    )


async def test_each_sort_of_record_goes_at_its_own_age(database: Database, project: int) -> None:
    old, middle, new = [await ended(database, project, days) for days in (30, 10, 1)]
    retention = Retention(runs=20 * DAY, outputs=5 * DAY, logs=15 * DAY)
    await sweep(database, project, ProjectRetention(retention))
    assert await left(database, "run", "id") == {middle, new}
    assert await left(database, "block_run") == {middle, new}
    assert await left(database, "output") == {new}
    assert await left(database, "log_line") == {middle, new}
    assert old not in await left(database, "log_line")


async def test_a_pipeline_may_say_otherwise_than_its_project(database: Database, project: int) -> None:
    kept = await ended(database, project, 30, "precious")
    gone = await ended(database, project, 30, "p")
    brief = await ended(database, project, 2, "brief")
    other = await ended(database, project, 2, "p")
    own = {"precious": Retention(), "brief": Retention(runs=DAY)}
    await sweep(database, project, ProjectRetention(Retention(runs=20 * DAY), own))
    assert await left(database, "run", "id") == {kept, other}
    assert {gone, brief}.isdisjoint(await left(database, "log_line"))


async def test_runs_that_go_on_and_what_others_were_retried_from_are_no_obstacle(
    database: Database, project: int
) -> None:
    old = await ended(database, project, 30)
    live = await database.fetchval(
        "INSERT INTO headrace.run (project_id, pipeline, version, retry_of, created_at)"
        " VALUES ($1, 'p', 'h', $2, now() - interval '40 days') RETURNING id",
        project, old,
    )  # fmt: skip
    await sweep(database, project, ProjectRetention(Retention(runs=DAY)))
    assert await left(database, "run", "id") == {live}


async def test_beyond_a_size_the_outputs_of_the_oldest_runs_go(database: Database, project: int) -> None:
    _, _, third, fourth = [await ended(database, project, days, size=400) for days in (4, 3, 2, 1)]
    await sweep(database, project, ProjectRetention(Retention(output_bytes=1000)))
    assert await left(database, "output") == {third, fourth}
    assert len(await left(database, "run", "id")) == 4


async def test_old_events_go_unless_they_wait_for_their_batch(database: Database, project: int) -> None:
    for number in range(4):
        await database.execute(
            "INSERT INTO headrace.event (project_id, source, kind, key, occurred_at, received_at)"
            " VALUES ($1, 's', 'k', $2, now(), now() - $3 * interval '1 day')",
            project, str(number), float(number * 10),
        )  # fmt: skip
    ids = {row["key"]: row["id"] for row in await database.fetch("SELECT id, key FROM headrace.event")}
    await database.execute(
        "INSERT INTO headrace.event_fate (event_id, trigger_id, fate) VALUES ($1, 1, 'waiting')", ids["3"]
    )
    await database.execute(
        "INSERT INTO headrace.event_fate (event_id, trigger_id, fate) VALUES ($1, 1, 'dead')", ids["2"]
    )
    await sweep(database, project, ProjectRetention(Retention(events=5 * DAY)))
    assert {row["key"] for row in await database.fetch("SELECT key FROM headrace.event")} == {"0", "3"}
    assert await left(database, "event_fate", "event_id") == {ids["3"]}


async def test_a_pipeline_may_keep_fewer_bytes_of_outputs_than_its_project(database: Database, project: int) -> None:
    small = [await ended(database, project, days, "small", size=400) for days in (9, 8, 7)]
    others = [await ended(database, project, days, size=400) for days in (6, 5)]
    retention = ProjectRetention(Retention(output_bytes=1000), {"small": Retention(output_bytes=500)})
    await sweep(database, project, retention)
    assert await left(database, "output") == set(others)
    await sweep(database, project, ProjectRetention(Retention(), {"p": Retention(output_bytes=500)}))
    assert await left(database, "output") == {others[1]}
    assert len(await left(database, "run", "id")) == len(small + others)


@pytest.mark.parametrize(
    ("usual", "own", "kept"),
    [
        (5.0, {}, set()),
        (5.0, {"p": None}, {"p", "both"}),
        (None, {"q": 5.0}, {"p", "both", "none"}),
        (30.0, {"p": 5.0}, {"q", "both", "none"}),
        (5.0, {"p": 30.0, "q": 20.0}, {"p", "q", "both"}),
    ],
)
async def test_events_are_kept_for_as_long_as_a_pipeline_wants_them(
    database: Database, project: int, usual: float | None, own: dict[str, float | None], kept: set[str]
) -> None:
    triggers = {
        name: await database.fetchval(
            "INSERT INTO headrace.trigger (project_id, pipeline, name, origin, kind, source, definition, status)"
            " VALUES ($1, $2, 't', 'api', 'api', $2, '{}', 'active') RETURNING id",
            project, name,
        )
        for name in ("p", "q")
    }  # fmt: skip
    for key, met in {"p": "p", "q": "q", "both": "pq", "none": ""}.items():
        event = await database.fetchval(
            "INSERT INTO headrace.event (project_id, source, kind, key, occurred_at, received_at)"
            " VALUES ($1, 's', 'k', $2, now(), now() - interval '10 days') RETURNING id",
            project, key,
        )  # fmt: skip
        for name in met:
            await database.execute(
                "INSERT INTO headrace.event_fate (event_id, trigger_id, fate, reason) VALUES ($1, $2, 'filtered', 'r')",
                event, triggers[name],
            )  # fmt: skip

    def in_days(days: float | None) -> Retention:
        return Retention(events=None if days is None else days * DAY)

    await sweep(
        database, project, ProjectRetention(in_days(usual), {name: in_days(days) for name, days in own.items()})
    )
    assert {row["key"] for row in await database.fetch("SELECT key FROM headrace.event")} == kept


async def test_whole_days_of_lines_are_dropped_as_partitions(database: Database, project: int) -> None:
    today = datetime.now(UTC)
    await database.execute("SELECT headrace.make_log_day($1)", (today - timedelta(days=10)).date())
    run = await ended(database, project, 10)
    await store_log_lines(database, [line(run, today, 2)])
    (dropped,) = await drop_log_days(database, 5 * DAY)
    assert dropped == f"log_line_{today - timedelta(days=10):%Y%m%d}"
    assert await database.fetchval("SELECT count(*) FROM headrace.log_line WHERE run_id = $1", run) == 1
    assert await drop_log_days(database, 5 * DAY) == []


async def test_a_partition_whose_lock_does_not_come_is_left_and_no_writer_waits_for_it(
    database: Database, project: int
) -> None:
    day = datetime.now(UTC) - timedelta(days=10)
    await database.execute("SELECT headrace.make_log_day($1)", day.date())
    run = await ended(database, project, 10)
    longest = 0.0
    async with database.transaction() as reader:
        await reader.fetch("SELECT * FROM headrace.log_line")
        dropping = asyncio.create_task(drop_log_days(database, 5 * DAY))
        for seq in range(2, 12):
            began = time.monotonic()
            await store_log_lines(database, [line(run, datetime.now(UTC), seq)])
            longest = max(longest, time.monotonic() - began)
        assert await dropping == []
    assert longest < 1.0
    assert len(await drop_log_days(database, 5 * DAY)) == 1


async def test_coming_days_get_their_partitions_once_and_lines_of_others_lie_in_the_rest(
    database: Database, project: int
) -> None:
    assert await make_log_days(database, 9) == 2
    assert await make_log_days(database, 9) == 0
    far = datetime.now(UTC) + timedelta(days=30)
    await store_log_lines(database, [line(1, far)])
    assert await database.fetchval("SELECT count(*) FROM headrace.log_line_rest") == 1
    assert not await database.fetchval("SELECT headrace.make_log_day($1)", far.date())
