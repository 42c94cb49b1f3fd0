"""Fixtures for all tests: a server of Postgres for the session, a fresh migrated database for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from headrace.store.database import Database, open_database
from hypothesis import HealthCheck, settings

from tests.support.no_skip import pytest_make_collect_report, pytest_runtest_makereport
from tests.support.postgres import Server, session_server

settings.register_profile("shared-machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("shared-machine")  # what it finds must not depend on how busy the machine is

__all__ = ["pytest_make_collect_report", "pytest_runtest_makereport"]


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    """The session's embedded server, from the wheel's binaries unless HEADRACE_TEST_POSTGRES asks for others."""
    with session_server() as server:
        yield server


@pytest.fixture
async def database_url(postgres: Server) -> AsyncIterator[str]:
    """The address of a fresh migrated database."""
    async with postgres.fresh() as dsn:
        yield dsn


@pytest.fixture
async def empty_database_url(postgres: Server) -> AsyncIterator[str]:
    """The address of a fresh database without any tables."""
    async with postgres.fresh("template1") as dsn:
        yield dsn


@pytest.fixture
async def database(database_url: str, tmp_path: Path) -> AsyncIterator[Database]:
    """A fresh migrated database, opened."""
    async with open_database(tmp_path, {"HEADRACE_DATABASE_URL": database_url}) as opened:
        yield opened
