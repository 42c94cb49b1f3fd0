"""Migrations: each once, in order, one process at a time, and the truth about those that fail."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest
from headrace.store.errors import (
    DatabaseBusy,
    DatabaseUnavailable,
    InvalidMigrations,
    MigrationChanged,
    MigrationFailed,
    SchemaTooNew,
)
from headrace.store.migrations import (
    LOCK,
    Migration,
    migrate,
    migrations_folder,
    newer_migrations,
    read_migrations,
    status,
)

MIGRATE = """
import asyncio, sys
from pathlib import Path
from headrace.store.database import open_database

async def main():
    async with open_database(Path("."), pool_size=1) as database:
        print(await database.fetchval("SELECT count(*) FROM headrace.migration"))

print("up", flush=True)
sys.stdin.readline()
asyncio.run(main())
"""


@pytest.fixture
async def connection(empty_database_url: str) -> AsyncIterator[asyncpg.Connection]:
    opened = await asyncpg.connect(empty_database_url)
    yield opened
    await opened.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "0001_one.sql").write_text("CREATE TABLE one (id int);\nINSERT INTO one VALUES (1);\n")
    return tmp_path


async def test_migrations_are_applied_once_and_in_order(connection, folder: Path):
    (folder / "0002_two.sql").write_text("ALTER TABLE one ADD COLUMN two int;\n")
    assert await migrate(connection, folder) == ["0001_one.sql", "0002_two.sql"]
    assert await migrate(connection, folder) == []
    (folder / "0003_three.sql").write_text("CREATE TABLE three (id int);\n")
    assert await migrate(connection, folder) == ["0003_three.sql"]
    assert await connection.fetchval("SELECT count(*) FROM one") == 1


async def test_a_failed_migration_leaves_nothing_behind_and_those_before_it_stay(connection, folder: Path):
    (folder / "0002_two.sql").write_text("CREATE TABLE two (id int);\nSELECT 1/0;\n")
    with pytest.raises(MigrationFailed, match=r"0002_two\.sql failed: division by zero") as caught:
        await migrate(connection, folder)
    assert "Nothing of it was kept" in str(caught.value.remedy)
    assert await connection.fetchval("SELECT to_regclass('two')") is None
    assert [(m.name, m.applied_at is not None) for m in await status(connection, folder)] == [
        ("0001_one.sql", True),
        ("0002_two.sql", False),
    ]


async def test_a_migration_without_transaction_is_run_statement_by_statement(connection, folder: Path):
    (folder / "0002_index.sql").write_text(
        "-- no transaction\n-- Two lines; with a semicolon;\nCREATE INDEX CONCURRENTLY by_id\n    ON one (id);\n\n"
        "CREATE INDEX CONCURRENTLY by_id_too ON one (id);  \n"
    )
    assert await migrate(connection, folder) == ["0001_one.sql", "0002_index.sql"]
    assert (
        await connection.fetchval("SELECT count(*) FROM pg_index WHERE indrelid = 'one'::regclass AND indisvalid") == 2
    )


async def test_a_failure_without_transaction_tells_what_was_kept(connection, folder: Path):
    (folder / "0002_two.sql").write_text("-- no transaction\nCREATE TABLE two (id int);\nSELECT 1/0;\nSELECT 3;\n")
    with pytest.raises(MigrationFailed, match="after 1 of its 3 statements, failed: division by zero") as caught:
        await migrate(connection, folder)
    assert "were kept" in str(caught.value.remedy)
    assert await connection.fetchval("SELECT to_regclass('two')") is not None


@pytest.mark.parametrize("start", ["", "-- no transaction\n"], ids=["whole", "by statements"])
async def test_a_connection_that_is_lost_is_no_fault_of_the_migration(connection, folder: Path, start: str):
    (folder / "0002_two.sql").write_text(f"{start}SELECT pg_terminate_backend(pg_backend_pid());\n")
    with pytest.raises(DatabaseUnavailable, match=r"migration 0002_two\.sql.* did not come to its end"):
        await migrate(connection, folder)


async def test_a_table_that_others_hold_is_no_fault_of_the_migration(connection, empty_database_url: str, folder: Path):
    await migrate(connection, folder)
    (folder / "0002_two.sql").write_text("SET LOCAL lock_timeout = '10ms';\nALTER TABLE one ADD COLUMN two int;\n")
    other = await asyncpg.connect(empty_database_url)
    try:
        async with other.transaction():
            await other.execute("SELECT FROM one")
            with pytest.raises(DatabaseBusy, match=r"0002_two\.sql waits for a table"):
                await migrate(connection, folder)
    finally:
        await other.close()
    assert await migrate(connection, folder) == ["0002_two.sql"]


async def test_a_user_who_may_make_no_tables_is_told(connection, empty_database_url: str, folder: Path):
    await connection.execute("CREATE ROLE stranger; SET ROLE stranger")
    try:
        with pytest.raises(MigrationFailed, match="permission denied"):
            await migrate(connection, folder)
    finally:
        await connection.execute("RESET ROLE; DROP ROLE stranger")


async def test_a_time_limit_of_the_server_s_is_none_for_migrations(connection, folder: Path):
    await connection.execute("SET statement_timeout = '10ms'")
    (folder / "0002_two.sql").write_text("SELECT pg_sleep(0.05);\n")
    assert await migrate(connection, folder) == ["0001_one.sql", "0002_two.sql"]


def test_statements_end_with_a_line_that_ends_with_a_semicolon():
    sql = "-- no transaction\nSELECT ';', 2\n  -- why;\n  FROM a;\n\nSELECT 'x; y';\nSELECT 3"
    assert Migration(1, "0001_a.sql", sql).statements == ["SELECT ';', 2\n  FROM a;", "SELECT 'x; y';", "SELECT 3"]


async def test_a_migration_that_was_changed_after_it_was_applied_is_refused(connection, folder: Path):
    await migrate(connection, folder)
    (folder / "0001_one.sql").write_text("CREATE TABLE other (id int);\n")
    with pytest.raises(MigrationChanged, match=r"0001_one\.sql"):
        await migrate(connection, folder)


async def test_a_migration_of_a_newer_headrace_is_let_be_and_shown_as_unknown(connection, folder: Path):
    await migrate(connection, folder)
    (folder / "0001_one.sql").rename(folder / "0002_two.sql")
    await migrate(connection, folder / "nothing")
    (shown,) = await status(connection, folder / "nothing")
    assert (shown.name, shown.known) == ("0001_one.sql", False)


async def test_a_migration_says_which_services_can_work_with_it(connection, folder: Path, tmp_path: Path):
    newer = tmp_path / "newer"
    newer.mkdir()
    for path in folder.glob("*.sql"):
        (newer / path.name).write_text(path.read_text())
    (newer / "0002_added.sql").write_text("ALTER TABLE one ADD COLUMN two int;\n")
    await migrate(connection, newer)
    assert await newer_migrations(connection, folder) == ["0002_added.sql"]
    assert await migrate(connection, folder) == []
    (newer / "0003_dropped.sql").write_text("-- One column less.\n-- needs: 0002\n\nALTER TABLE one DROP COLUMN id;\n")
    await migrate(connection, newer)
    for look in (newer_migrations, migrate):
        with pytest.raises(SchemaTooNew, match=r"applied 0003_dropped\.sql .* know migration 0002; .* knows is 0001"):
            await look(connection, folder)
    (folder / "0002_added.sql").write_text((newer / "0002_added.sql").read_text())
    assert await newer_migrations(connection, folder) == ["0003_dropped.sql"]
    assert await migrate(connection, folder) == []


async def test_a_database_whose_migrations_say_nothing_of_needs_is_understood(connection, folder: Path):
    await migrate(connection, folder)
    await connection.execute("ALTER TABLE headrace.migration DROP COLUMN needs")
    assert await newer_migrations(connection, folder) == []
    assert await migrate(connection, folder) == []


async def test_the_status_of_an_empty_database_changes_nothing(connection, folder: Path):
    (shown,) = await status(connection, folder)
    assert shown.applied_at is None
    assert await connection.fetchval("SELECT to_regnamespace('headrace')") is None


@pytest.mark.parametrize("names", [["one.sql"], ["0001_one.sql", "0001_two.sql"]])
def test_odd_names_and_numbers_that_are_taken_are_refused(tmp_path: Path, names: list[str]):
    for name in names:
        (tmp_path / name).write_text("SELECT 1;")
    with pytest.raises(InvalidMigrations):
        read_migrations(tmp_path)


async def test_waiting_for_the_lock_ends_and_names_its_holder(connection, empty_database_url: str, folder: Path):
    settings = {"application_name": "somebody"}
    holder = await asyncpg.connect(empty_database_url, server_settings=settings)
    try:
        await holder.execute("SELECT pg_advisory_lock($1)", LOCK)
        with pytest.raises(DatabaseBusy, match=f"somebody of server process {holder.get_server_pid()}"):
            await migrate(connection, folder, patience=0.1)
    finally:
        await holder.close()
    assert await migrate(connection, folder) == ["0001_one.sql"]


async def test_a_cancelled_migration_gives_the_lock_back(connection, empty_database_url: str, folder: Path):
    (folder / "0002_slow.sql").write_text("SELECT pg_sleep(60);")
    slow = asyncio.create_task(migrate(connection, folder))
    other = await asyncpg.connect(empty_database_url)
    try:
        while not await other.fetchval("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'"):
            await asyncio.sleep(0.01)
        slow.cancel()
        with pytest.raises(asyncio.CancelledError):
            await slow
        (folder / "0002_slow.sql").unlink()
        assert await migrate(other, folder, patience=5) == []
    finally:
        await other.close()


async def test_five_processes_that_migrate_an_empty_database_at_once_all_come_up(empty_database_url: str):
    environ = {**os.environ, "HEADRACE_DATABASE_URL": empty_database_url}
    pipes = {"stdin": asyncio.subprocess.PIPE, "stdout": asyncio.subprocess.PIPE, "stderr": asyncio.subprocess.PIPE}
    processes = [
        await asyncio.create_subprocess_exec(sys.executable, "-c", MIGRATE, env=environ, **pipes) for _ in range(5)
    ]
    for process in processes:
        assert await process.stdout.readline() == b"up\n"
    ends = await asyncio.gather(*(process.communicate(b"go\n") for process in processes))
    wanted = len(read_migrations(migrations_folder()))
    assert [(out.strip(), error) for out, error in ends] == [(str(wanted).encode(), b"")] * 5
