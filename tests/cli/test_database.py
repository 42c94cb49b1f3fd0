"""`headrace db`: where the database is, its address while nothing else runs, psql, and migrations."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest
from headrace.store.embedded import attach

from tests.support.shell import CTRL_C, Shell
from tests.support.workers import wait_until


@pytest.fixture(scope="module", autouse=True)
def connections(headrace: Shell) -> None:
    (headrace.project / "io_config.yaml").write_text(
        "own:\n" + "".join(f"  POSTGRES_{part}: {{{{ env_var('POSTGRES_{part}') }}}}\n" for part in PARTS)
        + "elsewhere:\n  POSTGRES_HOST: db.example\n  POSTGRES_PORT: 5433\n  POSTGRES_DBNAME: sales/2021\n"
        "  POSTGRES_USER: ann@mill\n  POSTGRES_PASSWORD: 'a b:c/d?e'\nfiles: {}\n"
    )  # fmt: skip


PARTS = ("DBNAME", "SCHEMA", "USER", "PASSWORD", "HOST", "PORT")


def test_status_tells_where_everything_is_and_changes_nothing(headrace):
    before, as_json = headrace.each("headrace db", "headrace db --json", code=0)
    assert before.lines[0].startswith("embedded Postgres ")
    assert f"  data     {headrace.project.parent}/postgres/data" in before.lines
    assert "  0001_runs.sql  not applied" in before.lines
    assert before.lines[-1] == "Apply them: headrace db migrate"
    assert as_json.json.keys() >= {"kind", "version", "dsn", "folder", "migrations"}
    password = as_json.json["dsn"].split(":")[2].partition("@")[0]
    assert len(password) > 20
    assert password not in before.out

    applied = headrace("db", "migrate", code=0).lines
    assert applied[0] == "applied 0001_runs.sql"
    assert applied[-1] == f"{len(applied) - 1} migrations applied."
    again, after = headrace.each("headrace db migrate", "headrace db status --json", code=0)
    assert again.out == "The database is up to date.\n"
    assert all(migration["applied_at"] for migration in after.json["migrations"])


def test_the_address_reaches_the_server_after_the_command_has_ended(headrace):
    told = headrace("db", "dsn", code=0)
    assert told.out.count("\n") == 1
    assert "stays up for 10 minutes" in told.err
    own = headrace("db", "dsn", "--profile", "own", code=0).out.strip()

    async def asked() -> tuple[str, str]:
        ours, blocks = await asyncpg.connect(told.out.strip()), await asyncpg.connect(own)
        try:
            return await ours.fetchval("SELECT current_database()"), await blocks.fetchval("SELECT current_database()")
        finally:
            await asyncio.gather(ours.close(), blocks.close())

    assert asyncio.run(asked()) == ("headrace", "mill_data")
    leave_at_once(headrace)


def leave_at_once(headrace: Shell) -> None:
    """Take back the wish that the server stays up."""
    attachment = attach(headrace.project, headrace.environ)
    attachment.keep_for(0)
    attachment.close()


def test_a_profiles_address_has_its_odd_characters_quoted(headrace):
    elsewhere, files, misspelt = headrace.each(
        "headrace db dsn --profile elsewhere", "headrace db dsn --profile files", "headrace db dsn --profile elswhere"
    )
    assert elsewhere.out == "postgresql://ann%40mill:a%20b%3Ac%2Fd%3Fe@/sales%2F2021?host=db.example&port=5433\n"
    assert (files.code, misspelt.code) == (2, 2)
    assert files.err.startswith("error[no-postgres-profile]: Profile files of io_config.yaml has no POSTGRES_HOST.")
    assert "has no profile elswhere" in misspelt.err
    leave_at_once(headrace)


def test_psql_gets_the_further_arguments_and_gives_its_exit_code(headrace):
    one, blocks, wrong = headrace.each(
        "headrace db psql -At -c 'SELECT 40 + 2'",
        "headrace db psql --profile own -At -c 'SELECT current_user'",
        "headrace db psql -c 'SELECT nonsense'",
    )
    assert (one.code, one.out) == (0, "42\n")
    assert (blocks.code, blocks.out) == (0, "mill_blocks\n")
    assert (wrong.code, "nonsense" in wrong.err) == (1, True)


def test_ctrl_c_ends_a_query_and_not_psql(headrace):
    dsn = headrace("db", "--json", code=0).json["dsn"]
    with headrace.terminal("db", "psql", "-X", "-q") as terminal:
        terminal.until("headrace=#")
        terminal.press("SELECT pg_sleep(600);\n")
        assert wait_until(lambda: asyncio.run(sleeping(dsn)), 30)
        terminal.press(CTRL_C)
        terminal.until("canceling statement due to user request")
        terminal.press("SELECT 40 + 2;\n")
        terminal.until("42")
        terminal.press("\\q\n")
        assert terminal.ended() == 0


async def sleeping(dsn: str) -> bool:
    connection = await asyncpg.connect(dsn)
    try:
        return await connection.fetchval("SELECT EXISTS (SELECT FROM pg_stat_activity WHERE wait_event = 'PgSleep')")
    finally:
        await connection.close()
