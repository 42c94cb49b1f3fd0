"""Applies the numbered SQL files of `migrations/`, forward only, each once.

A file that starts with `-- no transaction` (for CREATE INDEX CONCURRENTLY) is run statement by statement; there a
statement ends with the line that ends with `;`, so function bodies do not belong in such a file.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import asyncpg

from headrace.store.errors import (
    DATABASE_AWAY,
    DatabaseBusy,
    DatabaseUnavailable,
    InvalidMigrations,
    MigrationChanged,
    MigrationFailed,
    SchemaTooNew,
    StoreError,
)
from headrace.store.locking import PATIENCE_SECONDS, POLL_SECONDS, one_at_a_time

LOCK = 7_215_046_332
"""The advisory lock under which one process at a time migrates a database."""

_NO_TRANSACTION = "-- no transaction"
_NEEDS = re.compile(r"^-- needs: (\d{4})$", re.MULTILINE)
_HALF_DONE = (
    "Those statements were kept, for it runs without a transaction: undo them by hand, and drop an index that a failed "
    "CREATE INDEX CONCURRENTLY left invalid; then mend the file and start again."
)
_NAME = re.compile(r"^(\d{4})_\w+\.sql$")
_PACKAGE = Path(__file__).resolve().parent.parent

_TABLE = """
CREATE SCHEMA IF NOT EXISTS headrace;
CREATE TABLE IF NOT EXISTS headrace.migration (
    number integer PRIMARY KEY, name text NOT NULL, sha256 text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now()
);
"""
_HAS_NEEDS = """
SELECT EXISTS (SELECT FROM pg_attribute WHERE attrelid = 'headrace.migration'::regclass AND attname = 'needs')
"""
_NEWER = """
SELECT m.number, m.name, (to_jsonb(m) ->> 'needs')::integer AS needs FROM headrace.migration AS m
WHERE m.number > $1 ORDER BY m.number
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
        return not self.sql.startswith(_NO_TRANSACTION)

    @property
    def needs(self) -> int | None:
        """The newest migration that a Headrace must know to work with what this one makes; None where any can."""
        found = _NEEDS.search(self.sql)
        return int(found[1]) if found else None

    @property
    def statements(self) -> list[str]:
        """The statements of a file that runs without a transaction, in order, without comment lines."""
        lines = [line for line in self.sql.splitlines() if line.strip() and not line.lstrip().startswith("--")]
        parts = re.split(r"(?<=;)[ \t]*\n", "\n".join(lines) + "\n")
        return [part.strip() for part in parts if part.strip()]


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


async def migrate(
    connection: Any, folder: Path | None = None, *, poll: float = POLL_SECONDS, patience: float = PATIENCE_SECONDS
) -> list[str]:
    """Bring a database up to date; the names of the migrations that were applied.

    Waits up to `patience` seconds for another process that migrates. `connection` must have no time limit for its
    statements. Raises DatabaseBusy and DatabaseUnavailable for what may pass by itself; MigrationChanged,
    MigrationFailed, SchemaTooNew and InvalidMigrations for what will not.
    """
    wanted = read_migrations(folder or migrations_folder())
    with _failures_told("The look at its migrations", "See what the database's user may do there."):
        await connection.execute("SET statement_timeout = 0")
        async with one_at_a_time(
            connection, LOCK, "The database's tables are being changed", poll=poll, patience=patience
        ):
            await connection.execute(_TABLE)
            if not await connection.fetchval(_HAS_NEEDS):
                await connection.execute("ALTER TABLE headrace.migration ADD COLUMN needs integer")
            await newer_migrations(connection, folder)
            missing = await _missing(connection, wanted)
            for migration in missing:
                await _apply(connection, migration)
            return [migration.name for migration in missing]


@contextmanager
def _failures_told(what: str, remedy: str) -> Iterator[None]:
    """Tell what failed, and whether it may pass by itself."""
    try:
        yield
    except asyncpg.LockNotAvailableError as error:
        raise DatabaseBusy(
            f"{what} waits for a table that others hold: {error}.",
            remedy="It is tried again at the next start; `SELECT * FROM pg_locks` tells who holds it.",
        ) from error
    except (StoreError, asyncio.CancelledError):
        raise
    except DATABASE_AWAY as error:
        raise DatabaseUnavailable(
            f"The database went away: {what[0].lower()}{what[1:]} did not come to its end ({error}).",
            remedy="It is tried again at the next start.",
        ) from error
    except asyncpg.PostgresError as error:
        raise MigrationFailed(f"{what} failed: {error}", remedy=remedy) from error


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


async def _apply(connection: Any, migration: Migration) -> None:
    if migration.transactional:
        await _apply_whole(connection, migration)
    else:
        await _apply_one_by_one(connection, migration)


async def _apply_whole(connection: Any, migration: Migration) -> None:
    told = "Nothing of it was kept; mend it and start again."
    with _failures_told(f"Migration {migration.name}", told):
        async with connection.transaction():
            await connection.execute(migration.sql)
            await _note(connection, migration)


async def _apply_one_by_one(connection: Any, migration: Migration) -> None:
    statements = migration.statements
    for done, statement in enumerate(statements):
        with _failures_told(
            f"Migration {migration.name}, after {done} of its {len(statements)} statements,", _HALF_DONE
        ):
            await connection.execute(statement)
    with _failures_told(f"Migration {migration.name}, after all of its statements,", _HALF_DONE):
        await _note(connection, migration)


async def _note(connection: Any, migration: Migration) -> None:
    await connection.execute(
        "INSERT INTO headrace.migration (number, name, sha256, needs) VALUES ($1, $2, $3, $4)",
        migration.number,
        migration.name,
        migration.sha256,
        migration.needs,
    )


async def newer_migrations(connection: Any, folder: Path | None = None) -> list[str]:
    """The names of migrations that a newer Headrace applied, beyond the newest that this one knows.

    Raises SchemaTooNew where one of them needs services that know more than this one.
    """
    if not await connection.fetchval("SELECT to_regclass('headrace.migration') IS NOT NULL"):
        return []
    newest = max((migration.number for migration in read_migrations(folder or migrations_folder())), default=0)
    rows = await connection.fetch(_NEWER, newest)
    for row in rows:
        if row["needs"] is not None and row["needs"] > newest:
            raise SchemaTooNew(
                f"A newer Headrace applied {row['name']} to this database. It needs services that know migration "
                f"{row['needs']:04}; the newest that this one knows is {newest:04}.",
                remedy="Upgrade this Headrace, or give it a database of its own.",
            )
    return [row["name"] for row in rows]


async def status(connection: Any, folder: Path | None = None) -> list[MigrationStatus]:
    """Where each migration stands, those that only the database knows included. Changes nothing."""
    rows = []
    if await connection.fetchval("SELECT to_regclass('headrace.migration') IS NOT NULL"):
        rows = await connection.fetch("SELECT number, name, applied_at FROM headrace.migration ORDER BY number")
    applied = {row["number"]: row["applied_at"] for row in rows}
    known = read_migrations(folder or migrations_folder())
    here = [MigrationStatus(m.number, m.name, applied.get(m.number)) for m in known]
    numbers = {m.number for m in known}
    return here + [MigrationStatus(**row, known=False) for row in rows if row["number"] not in numbers]
