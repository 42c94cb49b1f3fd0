"""The database as the engine uses it: transactions that are over when they say so, JSON, addresses, the project's role."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime
from functools import partial
from pathlib import Path

import anyio
import asyncpg
import pytest
from headrace.store import project_role
from headrace.store.database import Database, open_database
from headrace.store.errors import DatabaseBusy, DatabaseUnavailable, InvalidAddress
from headrace.store.locking import one_at_a_time
from headrace.store.project_role import project_database
from headrace.store.runs import keep_project

from tests.support.postgres import Server

OPEN_TRANSACTIONS = """
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND state LIKE 'idle in transaction%'
"""


@pytest.fixture
async def watcher(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection beside the pool."""
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()


@pytest.fixture
async def table(watcher) -> None:
    await watcher.execute(
        "CREATE TABLE entry (id int PRIMARY KEY);"
        "CREATE FUNCTION dawdle() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.4); RETURN NULL; END $$;"
        # the commit of a row with a negative id takes its time
        "CREATE CONSTRAINT TRIGGER slow AFTER INSERT ON entry DEFERRABLE INITIALLY DEFERRED FOR EACH ROW"
        " WHEN (NEW.id < 0) EXECUTE FUNCTION dawdle();"
    )


async def assert_clean(database: Database, watcher) -> None:
    """No transaction is left open, and each connection of the pool can be used."""
    assert await watcher.fetchval(OPEN_TRANSACTIONS) == 0
    answers = await asyncio.gather(
        *(database.fetchval("SELECT pg_backend_pid() FROM pg_sleep(0.01)") for _ in range(8))
    )
    assert len(answers) == 8


async def until_running(watcher, query: str) -> None:
    sql = "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE $1 AND pid <> pg_backend_pid()"
    async with asyncio.timeout(10):
        while not await watcher.fetchval(sql, query):
            await asyncio.sleep(0.005)


async def test_a_transaction_commits_at_its_end_and_rolls_back_on_an_error(database: Database, watcher, table):
    async with database.transaction() as connection:
        await connection.execute("INSERT INTO entry VALUES (1)")

    async def fail() -> None:
        async with database.transaction() as connection:
            await connection.execute("INSERT INTO entry VALUES (2)")
            raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        await fail()
    assert [row["id"] for row in await watcher.fetch("SELECT id FROM entry")] == [1]
    await assert_clean(database, watcher)


async def test_a_cancel_between_statements_rolls_back_before_it_is_raised(database: Database, watcher, table):
    inside = asyncio.Event()

    async def work() -> None:
        async with database.transaction() as connection:
            await connection.execute("INSERT INTO entry VALUES (1)")
            inside.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await inside.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await watcher.fetchval(OPEN_TRANSACTIONS) == 0
    assert await watcher.fetchval("SELECT count(*) FROM entry") == 0
    await assert_clean(database, watcher)


async def test_a_cancel_inside_a_statement_stops_it_and_rolls_back(database: Database, watcher, table):
    async def work() -> None:
        async with database.transaction() as connection:
            await connection.execute("INSERT INTO entry VALUES (1)")
            await connection.execute("SELECT pg_sleep(61)")

    task = asyncio.create_task(work())
    await until_running(watcher, "%pg_sleep(61)%")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await watcher.fetchval("SELECT count(*) FROM entry") == 0
    await assert_clean(database, watcher)


@pytest.mark.parametrize("cancels", [1, 2])
async def test_a_commit_under_way_is_waited_for_though_the_caller_is_cancelled(
    database: Database, watcher, table, cancels: int
):
    """A second cancel gives up the wait: then the connection is closed, and the commit has happened or has not."""

    async def work() -> None:
        async with database.transaction() as connection:
            await connection.execute("INSERT INTO entry VALUES (-1)")

    task = asyncio.create_task(work())
    await until_running(watcher, "COMMIT%")
    for _ in range(cancels):
        task.cancel()
        await asyncio.sleep(0)
    with pytest.raises(asyncio.CancelledError):
        await task
    if cancels == 1:
        assert await watcher.fetchval("SELECT count(*) FROM entry") == 1
    await assert_clean(database, watcher)


async def test_a_cancelled_scope_of_anyio_lets_the_rollback_end_and_keeps_the_connection(
    database: Database, watcher, table
):
    pids = []
    for _ in range(3):
        with anyio.CancelScope() as scope:
            async with database.transaction() as connection:
                pids.append(connection.get_server_pid())
                await connection.execute("INSERT INTO entry VALUES (1)")
                scope.cancel()
                await anyio.sleep_forever()
        assert scope.cancelled_caught
        assert await watcher.fetchval(OPEN_TRANSACTIONS) == 0
    assert len(set(pids)) == 1, "the connection was rolled back, not thrown away"
    await assert_clean(database, watcher)


async def test_a_second_cancel_while_the_server_does_not_answer_ends_the_connection(database: Database, watcher, table):
    inside = asyncio.Event()

    async def work() -> None:
        async with database.transaction() as connection:
            await connection.execute("INSERT INTO entry VALUES (1)")
            inside.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await inside.wait()
    task.cancel()
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    async with asyncio.timeout(5):
        while await watcher.fetchval(OPEN_TRANSACTIONS):
            await asyncio.sleep(0.01)
    assert await watcher.fetchval("SELECT count(*) FROM entry") == 0
    await assert_clean(database, watcher)


async def test_a_cancel_after_any_number_of_turns_of_the_loop_leaves_nothing_open(database: Database, watcher, table):
    async def work() -> None:
        async with database.transaction() as connection:
            await connection.execute("INSERT INTO entry VALUES (1)")
            await connection.execute("INSERT INTO entry VALUES (2)")

    undone = 0
    for turns in range(30):
        task = asyncio.create_task(work())
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert await watcher.fetchval(OPEN_TRANSACTIONS) == 0
        rows = await watcher.fetch("DELETE FROM entry RETURNING id")
        assert len(rows) in (0, 2)
        undone += not rows
    assert undone, "some cancels came before the commit"
    await assert_clean(database, watcher)


async def test_work_that_was_done_stands_though_its_connection_cannot_be_given_back(
    database: Database, watcher, table, monkeypatch
):
    """Else whoever asked would try again what has been committed."""

    async def unanswered(holder, timeout: float) -> None:
        holder._con.terminate()
        raise TimeoutError

    with monkeypatch.context() as patch:
        patch.setattr("asyncpg.pool.PoolConnectionHolder.release", unanswered)
        await database.execute("INSERT INTO entry VALUES (1)")
    assert await watcher.fetchval("SELECT count(*) FROM entry") == 1


async def test_work_is_done_again_after_its_connection_was_lost(database: Database, watcher):
    attempts = []

    async def work() -> int:
        async with database.connection() as connection:
            attempts.append(pid := connection.get_server_pid())
            if len(attempts) == 1:
                await watcher.execute("SELECT pg_terminate_backend($1)", pid)
            return await connection.fetchval("SELECT 1")

    assert await database.retrying(work) == 1
    assert len(attempts) == 2


async def test_json_keeps_what_it_can_and_tells_moments_by_their_iso_form(database: Database):
    moment = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    value = {"a": [1, 2.5, None, "ü"], "at": moment, "on": date(2026, 1, 2)}
    read = await database.fetchval("SELECT $1::json", value)
    assert read == {"a": [1, 2.5, None, "ü"], "at": moment.isoformat(), "on": "2026-01-02"}


@pytest.mark.parametrize(
    ("value", "fault"),
    [(float("nan"), "NaN"), ({"x": [float("-inf")]}, "infinity"), ({"x": object()}, "object cannot be stored as JSON")],
    ids=["nan", "infinity", "object"],
)
async def test_what_json_cannot_say_is_refused_before_it_is_sent(database: Database, value: object, fault: str):
    for sql, argument in (("SELECT $1::json", value), ("SELECT $1::json[]", [value])):
        with pytest.raises(asyncpg.exceptions.DataError) as caught:
            await database.fetchval(sql, argument)
        assert fault in str(caught.value)
        assert "query argument" in str(caught.value)
        assert type(caught.value) is asyncpg.exceptions.DataError, (
            "asyncpg's own word: the server says it more precisely"
        )


async def test_an_address_where_nobody_listens_is_told(tmp_path: Path):
    environ = {"HEADRACE_DATABASE_URL": f"postgresql://x@/x?host={tmp_path}"}
    with pytest.raises(DatabaseUnavailable, match="cannot be reached") as caught:
        async with open_database(tmp_path, environ):
            pass
    assert "HEADRACE_DATABASE_URL" in str(caught.value.remedy)


@pytest.mark.parametrize("address", ["nonsense", "postgresql://x@h:port/db", "mysql://x@h/db"])
async def test_what_is_no_address_is_told_at_once(tmp_path: Path, address: str):
    with pytest.raises(InvalidAddress, match="HEADRACE_DATABASE_URL is no address of a database"):
        async with open_database(tmp_path, {"HEADRACE_DATABASE_URL": address}):
            pass


@pytest.mark.parametrize("address", ["postgresql://", "postgres:///", "postgresql:///?"])
async def test_an_address_that_names_nothing_reaches_no_server_that_happens_to_be_there(
    tmp_path: Path, address: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("PGHOST", str(tmp_path))  # where it would look, nobody listens
    with pytest.raises(InvalidAddress, match="names neither a server nor a database"):
        async with open_database(tmp_path, {"HEADRACE_DATABASE_URL": address}):
            pass


@pytest.fixture
async def embedded(database: Database, postgres: Server) -> Database:
    """The same database as one of the embedded server."""
    return Database(database.address, database.pool, postgres.attachment)


def reach(variables: dict[str, str]) -> dict[str, object]:
    return {
        "host": variables["POSTGRES_HOST"],
        "port": int(variables["POSTGRES_PORT"]),
        "user": variables["POSTGRES_USER"],
        "password": variables["POSTGRES_PASSWORD"],
    }


async def test_a_projects_blocks_have_a_database_of_their_own(embedded: Database, tmp_path: Path):
    variables = await project_database(embedded, tmp_path / "My Project!")
    assert variables["POSTGRES_DBNAME"] == "my_project_data"
    connection = await asyncpg.connect(**reach(variables), database=variables["POSTGRES_DBNAME"])
    try:
        await connection.execute("CREATE TABLE public.numbers (n int)")
        assert not await connection.fetchval("SELECT rolsuper FROM pg_roles WHERE rolname = current_user")
    finally:
        await connection.close()


async def test_the_projects_role_can_enter_no_database_but_its_own(
    embedded: Database, postgres: Server, tmp_path: Path
):
    variables = await project_database(embedded, tmp_path / "curious")
    other = await project_database(embedded, tmp_path / "other")
    current = await embedded.fetchval("SELECT current_database()")
    for closed in (current, "headrace", "postgres", "template1", other["POSTGRES_DBNAME"]):
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="permission denied for database"):
            await asyncpg.connect(**reach(variables), database=closed)


async def test_projects_in_folders_of_one_name_have_databases_of_their_own(embedded: Database, tmp_path: Path):
    first = await project_database(embedded, tmp_path / "one" / "twins")
    second = await project_database(embedded, tmp_path / "two" / "twins")
    alike = await project_database(embedded, tmp_path / "one" / "Twins!")
    assert first["POSTGRES_DBNAME"] == "twins_data"
    assert len({each["POSTGRES_DBNAME"] for each in (first, second, alike)}) == 3
    assert len({each["POSTGRES_USER"] for each in (first, second, alike)}) == 3
    with pytest.raises(asyncpg.InsufficientPrivilegeError, match="permission denied for database"):
        await asyncpg.connect(**reach(second), database=first["POSTGRES_DBNAME"])
    for _ in range(2):
        assert await project_database(embedded, tmp_path / "two" / "twins") == second
    assert await project_database(embedded, tmp_path / "one" / "twins") == first


async def test_a_project_whose_server_was_moved_with_its_folder_keeps_its_database(
    embedded: Database, tmp_path: Path, monkeypatch
):
    monkeypatch.setattr(project_role, "_is_its_own", lambda attachment, project: True)
    before = await project_database(embedded, tmp_path / "draft")
    after = await project_database(embedded, tmp_path / "final")
    assert after == before
    assert await project_database(embedded, tmp_path / "final") == before


async def test_a_project_that_is_opened_later_under_its_name_keeps_its_database(embedded: Database, tmp_path: Path):
    before = await project_database(embedded, tmp_path / "quiet")
    number = await keep_project(embedded, str(tmp_path / "quiet"), "A name from its file")
    assert await embedded.fetchval("SELECT name FROM headrace.project WHERE id = $1", number) == "A name from its file"
    assert await project_database(embedded, tmp_path / "quiet") == before


async def test_who_waits_for_the_making_of_a_project_s_database_is_told_for_whom(
    embedded: Database, database_url: str, tmp_path: Path, monkeypatch
):
    monkeypatch.setattr(project_role, "one_at_a_time", partial(one_at_a_time, poll=0.01, patience=0.1))
    holder = await asyncpg.connect(database_url, server_settings={"application_name": "somebody"})
    try:
        await holder.execute("SELECT pg_advisory_lock($1)", project_role.LOCK)
        with pytest.raises(DatabaseBusy, match="databases of projects are being made by the somebody"):
            await project_database(embedded, tmp_path / "waiting")
        waiting = await holder.fetchval("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")
        assert waiting == 0
    finally:
        await holder.close()
    assert await project_database(embedded, tmp_path / "waiting")


async def test_a_wrong_password_does_not_open_the_projects_database(embedded: Database, tmp_path: Path):
    variables = await project_database(embedded, tmp_path / "guarded")
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(**{**reach(variables), "password": "guess"}, database=variables["POSTGRES_DBNAME"])


async def test_five_services_that_make_a_projects_database_at_once_get_the_same_one(
    embedded: Database, postgres: Server, tmp_path: Path
):
    kept = postgres.attachment.place.folder.parent / "project-password"
    kept.unlink(missing_ok=True)
    found = await asyncio.gather(*(project_database(embedded, tmp_path / "shared") for _ in range(5)))
    assert len({json.dumps(variables, sort_keys=True) for variables in found}) == 1
    assert kept.read_text() == found[0]["POSTGRES_PASSWORD"]
    assert kept.stat().st_mode & 0o777 == 0o600
    connection = await asyncpg.connect(**reach(found[0]), database=found[0]["POSTGRES_DBNAME"])
    await connection.close()


async def test_a_password_file_that_a_kill_left_empty_is_written_anew(
    embedded: Database, postgres: Server, tmp_path: Path
):
    kept = postgres.attachment.place.folder.parent / "project-password"
    kept.write_text("")
    variables = await project_database(embedded, tmp_path / "again")
    assert len(variables["POSTGRES_PASSWORD"]) == 32
    assert kept.read_text() == variables["POSTGRES_PASSWORD"]


async def test_a_server_of_others_gets_no_database_for_the_project(database: Database, tmp_path: Path):
    assert await project_database(database, tmp_path) == {}
