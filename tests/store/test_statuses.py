"""The states as SQL knows them: the same words as the domain's, and terminal ones are final whoever writes."""

from __future__ import annotations

import re
from enum import StrEnum
from itertools import product

import asyncpg
import pytest
from headrace.domain.backfills import BackfillStatus, IntervalStatus, Order, Reprocess
from headrace.domain.events import Fate
from headrace.domain.statuses import BLOCK_TERMINAL, RUN_TERMINAL, BlockStatus, RunStatus
from headrace.domain.triggers import TriggerKind, TriggerStatus
from headrace.store.database import Database

CHECKS = """
SELECT pg_get_constraintdef(oid) FROM pg_constraint
WHERE conrelid = $1::regclass AND contype = 'c' AND conkey = ARRAY[(
    SELECT attnum FROM pg_attribute WHERE attrelid = $1::regclass AND attname = $2)]
"""
GUARDS = """
SELECT pg_get_triggerdef(oid) FROM pg_trigger
WHERE tgrelid = $1::regclass AND tgfoid = 'headrace.refuse_leaving_terminal_state()'::regprocedure
"""
FINISHED = "CASE WHEN $2 = ANY ($3::text[]) THEN now() END"


@pytest.mark.parametrize(
    ("table", "column", "words"),
    [
        ("headrace.run", "status", RunStatus),
        ("headrace.block_run", "status", BlockStatus),
        ("headrace.event_fate", "fate", Fate),
        ("headrace.trigger", "kind", TriggerKind),
        ("headrace.trigger", "status", TriggerStatus),
        ("headrace.backfill", "status", BackfillStatus),
        ("headrace.backfill", "reprocess", Reprocess),
        ("headrace.backfill", "run_order", Order),
        ("headrace.backfill_interval", "status", IntervalStatus),
    ],
)
async def test_the_check_of_a_status_has_exactly_the_words_of_the_domain(
    database: Database, table: str, column: str, words: type[StrEnum]
):
    (check,) = [row[0] for row in await database.fetch(CHECKS, table, column)]
    assert set(re.findall(r"'(\w+)'", check)) == {str(word) for word in words}


@pytest.mark.parametrize(
    ("table", "words"),
    [("headrace.run", RUN_TERMINAL), ("headrace.block_run", BLOCK_TERMINAL)],
    ids=["run", "block_run"],
)
async def test_the_guard_of_terminal_states_names_all_of_them(
    database: Database, table: str, words: frozenset[StrEnum]
):
    (guard,) = [row[0] for row in await database.fetch(GUARDS, table)]
    guarded = guard.partition(" WHEN ")[2].partition(" EXECUTE ")[0]
    assert set(re.findall(r"'(\w+)'", guarded)) == {str(word) for word in words}


async def refused(connection, sql: str, *arguments: object) -> bool:
    """Try an update in a savepoint of its own."""
    try:
        async with connection.transaction():
            await connection.execute(sql, *arguments)
    except asyncpg.CheckViolationError as error:
        return "can move no more" in str(error)
    return False


async def add_run(connection) -> int:
    project = await connection.fetchval("INSERT INTO headrace.project (path, name) VALUES ('/p', 'p') RETURNING id")
    await connection.execute(
        "INSERT INTO headrace.pipeline_version (hash, pipeline, definition) VALUES ('h', 'p', '{}')"
    )
    run = "INSERT INTO headrace.run (project_id, pipeline, version) VALUES ($1, 'p', 'h') RETURNING id"
    return await connection.fetchval(run, project)


async def test_a_run_leaves_no_terminal_state(database: Database):
    terminal = [str(status) for status in RUN_TERMINAL]
    move = f"UPDATE headrace.run SET status = $2, finished_at = {FINISHED} WHERE id = $1"
    async with database.connection() as connection:
        run = await add_run(connection)
        for before, after in product(RUN_TERMINAL, RunStatus):
            async with undone(connection):
                await connection.execute(move, run, before, terminal)
                assert await refused(connection, move, run, after, terminal) == (after != before), (before, after)


async def test_a_block_leaves_no_terminal_state(database: Database):
    move = "UPDATE headrace.block_run SET status = $2 WHERE run_id = $1"
    async with database.connection() as connection:
        run = await add_run(connection)
        await connection.execute("INSERT INTO headrace.block_run (run_id, block, position) VALUES ($1, 'b', 0)", run)
        for before, after in product(BLOCK_TERMINAL, BlockStatus):
            async with undone(connection):
                await connection.execute(move, run, before)
                assert await refused(connection, move, run, after) == (after != before), (before, after)


class undone:
    """A transaction that is rolled back at its end."""

    def __init__(self, connection) -> None:
        self.transaction = connection.transaction()

    async def __aenter__(self) -> None:
        await self.transaction.start()

    async def __aexit__(self, *_: object) -> None:
        await self.transaction.rollback()


async def test_a_word_that_the_domain_does_not_know_is_refused(database: Database):
    async with database.connection() as connection:
        run = await add_run(connection)
        with pytest.raises(asyncpg.CheckViolationError):
            await connection.execute("UPDATE headrace.run SET status = 'paused' WHERE id = $1", run)


async def test_a_run_has_an_end_exactly_when_its_state_is_terminal(database: Database):
    async with database.connection() as connection:
        run = await add_run(connection)
        for sql in ("SET status = 'completed'", "SET status = 'running', finished_at = now()"):
            with pytest.raises(asyncpg.CheckViolationError, match="run_check"):
                await connection.execute(f"UPDATE headrace.run {sql} WHERE id = $1", run)
