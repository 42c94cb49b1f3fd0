"""How far schedules have come, as the database keeps it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from headrace.store.database import Database
from headrace.store.runs import keep_project
from headrace.store.schedules import (
    CatchingUp,
    Source,
    begin_catching_up,
    catching_up_due_in,
    drop_catching_up,
    go_on_catching_up,
    keep_patterns,
    progress_of,
    take_catching_up,
)

NOON = datetime(2026, 5, 6, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
EVER = datetime.min.replace(tzinfo=UTC)


@pytest.fixture
async def source(database: Database, tmp_path: Path) -> Source:
    """The source of a trigger that is recorded."""
    project = await keep_project(database, str(tmp_path), "shop")
    await database.execute(
        "INSERT INTO headrace.trigger (project_id, pipeline, name, kind, origin, source, status, definition) "
        "VALUES ($1, 'p', 't', 'schedule', 'file', 'schedule:p/t', 'active', '{}')",
        project,
    )
    return project, "schedule:p/t"


async def trigger(database: Database) -> int:
    return int(await database.fetchval("SELECT id FROM headrace.trigger"))


async def slot_event(database: Database, source: Source, at: datetime, kind: str = "slot") -> None:
    await database.execute(
        "INSERT INTO headrace.event (project_id, source, kind, key, occurred_at) VALUES ($1, $2, $3, $4, $5)",
        *source, kind, f"{kind} {at}", at,
    )  # fmt: skip


async def last_slot(database: Database) -> datetime | None:
    return (await progress_of(database, [await trigger(database)]))[await trigger(database)].last_slot


async def test_the_last_slot_goes_with_the_slots_event_and_never_back(database: Database, source: Source):
    assert await last_slot(database) is None
    await slot_event(database, source, NOON)
    assert await last_slot(database) == NOON
    await slot_event(database, source, NOON - HOUR)
    assert await last_slot(database) == NOON
    await slot_event(database, source, NOON + HOUR, kind="always_on")
    assert await last_slot(database) == NOON


async def test_the_last_slot_is_undone_with_its_event(database: Database, source: Source):
    await slot_event(database, source, NOON)
    async with database.connection() as connection:
        transaction = connection.transaction()
        await transaction.start()
        await connection.execute(
            "INSERT INTO headrace.event (project_id, source, kind, key, occurred_at) VALUES ($1, $2, 'slot', 'k', $3)",
            *source, NOON + HOUR,
        )  # fmt: skip
        await transaction.rollback()
    assert await last_slot(database) == NOON


async def test_the_last_slot_outlives_its_event(database: Database, source: Source):
    await slot_event(database, source, NOON)
    await database.execute("DELETE FROM headrace.event")
    assert await last_slot(database) == NOON


async def test_slots_count_anew_only_where_their_pattern_changes(database: Database, source: Source):
    async def counts_from(pattern: str, now: datetime) -> datetime | None:
        await keep_patterns(database, {source: pattern}, now)
        return (await progress_of(database, [await trigger(database)]))[await trigger(database)].counts_from

    assert await counts_from("@daily", NOON) is None
    assert await counts_from("@daily", NOON + HOUR) is None
    assert await counts_from("@hourly", NOON + 2 * HOUR) == NOON + 2 * HOUR
    assert await counts_from("@hourly", NOON + 3 * HOUR) == NOON + 2 * HOUR


async def test_a_trigger_is_enabled_when_it_leaves_inactivity_and_only_then(database: Database, source: Source):
    async def enabled_at(status: str) -> datetime:
        await database.execute("UPDATE headrace.trigger SET status = $1, reason = 'told'", status)
        return (await progress_of(database, [await trigger(database)]))[await trigger(database)].enabled_at

    made = await enabled_at("active")
    assert await enabled_at("broken") == made
    assert await enabled_at("active") == made
    assert await enabled_at("inactive") == made
    assert await enabled_at("active") > made


def missed(source: Source, first: int, last: int) -> CatchingUp:
    return CatchingUp(*source, NOON + first * HOUR, NOON + last * HOUR)


async def taken(database: Database, source: Source) -> CatchingUp | None:
    async with database.transaction() as connection:
        return await take_catching_up(connection, [source])


async def test_slots_that_are_to_be_made_up_for_are_joined_and_bounded(database: Database, source: Source):
    await keep_patterns(database, {source: "@hourly"}, NOON)
    await begin_catching_up(database, missed(source, 0, 3), EVER)
    assert await taken(database, source) == missed(source, 0, 3)
    assert await last_slot(database) == NOON + 3 * HOUR
    await begin_catching_up(database, missed(source, 5, 9), EVER)
    assert await taken(database, source) == missed(source, 0, 9)
    await begin_catching_up(database, missed(source, 9, 12), NOON + 8 * HOUR)
    assert await taken(database, source) == missed(source, 8, 12)
    await drop_catching_up(database, [source])
    assert await taken(database, source) is None


async def test_a_schedule_is_made_up_for_by_one_service_at_a_time_and_at_its_pace(database: Database, source: Source):
    await begin_catching_up(database, missed(source, 0, 3), EVER)
    async with database.transaction() as connection:
        assert await take_catching_up(connection, [source]) is not None
        assert await taken(database, source) is None
        await go_on_catching_up(connection, source, NOON + HOUR, 60.0)
    assert await taken(database, source) is None
    due_in = await catching_up_due_in(database, [source])
    assert due_in is not None
    assert 50 < due_in <= 60
    assert await catching_up_due_in(database, [(source[0], "schedule:p/other")]) is None
