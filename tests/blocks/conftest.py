"""One database for all tests of blocks, emptied before each: that is quicker than making one for each."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg
import pytest
import pytest_asyncio
from headrace.io import ConfigFileLoader, Postgres

from tests.support.postgres import Server
from tests.support.profiles import write_profile

EMPTIED = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid();
DO $$ DECLARE name text; BEGIN
    FOR name IN SELECT nspname FROM pg_namespace WHERE nspname !~ '^(pg_|information_schema)' LOOP
        EXECUTE format('DROP SCHEMA %I CASCADE', name);
    END LOOP;
END $$;
CREATE SCHEMA public;
"""


@pytest_asyncio.fixture(scope="package", loop_scope="package")
async def blocks_database_url(postgres: Server) -> AsyncIterator[str]:
    async with postgres.fresh("template1") as dsn:
        yield dsn


@pytest.fixture
async def empty_database_url(blocks_database_url: str) -> str:
    """The address of a database without any tables."""
    connection = await asyncpg.connect(blocks_database_url)
    try:
        await connection.execute(EMPTIED)
    finally:
        await connection.close()
    return blocks_database_url


@pytest.fixture
def loader(empty_database_url: str, tmp_path: Path) -> ConfigFileLoader:
    return write_profile(tmp_path, empty_database_url)


@pytest.fixture
def db(loader: ConfigFileLoader) -> Iterator[Postgres]:
    with Postgres.with_config(loader, verbose=False) as opened:
        yield opened
