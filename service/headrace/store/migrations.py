"""Applies the numbered SQL files of `migrations/`, forward only, each once."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from headrace.store.errors import InvalidMigrations, MigrationChanged, MigrationFailed

LOCK = 7_215_046_332
"""The advisory lock under which one process at a time migrates a database."""

_NAME = re.compile(r"^(\d{4})_\w+\.sql$")
_PACKAGE = Path(__file__).resolve().parent.parent

_TABLE = """
CREATE SCHEMA IF NOT EXISTS headrace;
CREATE TABLE IF NOT EXISTS headrace.migration (
    number integer PRIMARY KEY, name text NOT NULL, sha256 text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now()
);
"""


@dataclass(frozen=True, slots=True)
class Migration:
    """One numbered SQL file."""

    number: int
    name: str
    sql: str

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.sql.encode()).hexdigest()

    @property
    def transactional(self) -> bool:
        return not self.sql.startswith("-- no transaction")


@dataclass(frozen=True, slots=True)
class MigrationStatus:
    """Where one migration stands; `known` is false for one that a newer Headrace applied."""

    number: int
    name: str
    applied_at: datetime | None
    known: bool = True


def migrations_folder() -> Path:
    """The folder with the SQL files: in the installed package, else in the checkout."""
    packaged = _PACKAGE / "migrations"
    return packaged if packaged.is_dir() else _PACKAGE.parent.parent / "migrations"


def read_migrations(folder: Path) -> list[Migration]:
    """The migrations of a folder in order. Raises InvalidMigrations for odd names and for two of one number."""
    found: dict[int, Migration] = {}
    for path in sorted(folder.glob("*.sql")):
        match = _NAME.match(path.name)
        if match is None or int(match[1]) in found:
            raise InvalidMigrations(
                f"{path.name} is not a migration's name, or its number is taken.", remedy="Name it NNNN_what.sql."
            )
        found[int(match[1])] = Migration(int(match[1]), path.name, path.read_text())
    return [found[number] for number in sorted(found)]


async def migrate(connection: Any, folder: Path | None = None, *, poll: float = 0.05) -> list[str]:
    """Bring a database up to date; the names of the migrations that were applied.

    Waits for another process that migrates by asking again and again: a blocking advisory lock would deadlock with
    CREATE INDEX CONCURRENTLY. Raises MigrationChanged, MigrationFailed.
    """
    wanted = read_migrations(folder or migrations_folder())
    while not await connection.fetchval("SELECT pg_try_advisory_lock($1)", LOCK):
        await asyncio.sleep(poll)
    try:
        await connection.execute(_TABLE)
        return [m.name for m in await _missing(connection, wanted) if await _applied(connection, m)]
    finally:
        await connection.execute("SELECT pg_advisory_unlock($1)", LOCK)


async def _missing(connection: Any, wanted: Sequence[Migration]) -> list[Migration]:
    rows = await connection.fetch("SELECT number, sha256 FROM headrace.migration")
    done = {row["number"]: row["sha256"] for row in rows}
    for migration in wanted:
        if migration.number in done and done[migration.number] != migration.sha256:
            raise MigrationChanged(
                f"Migration {migration.name} was applied in another form than the one on disk.",
                remedy="Restore the file; write a new migration for what is to change.",
            )
    return [migration for migration in wanted if migration.number not in done]


async def _applied(connection: Any, migration: Migration) -> bool:
    try:
        if migration.transactional:
            async with connection.transaction():
                await connection.execute(migration.sql)
                await _note(connection, migration)
        else:
            await connection.execute(migration.sql)
            await _note(connection, migration)
    except Exception as error:
        raise MigrationFailed(
            f"Migration {migration.name} failed: {error}", remedy="Nothing of it was kept; mend it and start again."
        ) from error
    return True


async def _note(connection: Any, migration: Migration) -> None:
    await connection.execute(
        "INSERT INTO headrace.migration (number, name, sha256) VALUES ($1, $2, $3)",
        migration.number,
        migration.name,
        migration.sha256,
    )


async def status(connection: Any, folder: Path | None = None) -> list[MigrationStatus]:
    """Where each migration stands, those that only the database knows included."""
    await connection.execute(_TABLE)
    rows = await connection.fetch("SELECT number, name, applied_at FROM headrace.migration ORDER BY number")
    applied = {row["number"]: row for row in rows}
    known = read_migrations(folder or migrations_folder())
    here = [
        MigrationStatus(m.number, m.name, applied[m.number]["applied_at"] if m.number in applied else None) for m in known
    ]
    numbers = {m.number for m in known}
    return here + [MigrationStatus(**row, known=False) for row in rows if row["number"] not in numbers]
