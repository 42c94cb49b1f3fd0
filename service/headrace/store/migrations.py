"""Applies the numbered SQL files of `migrations/`, forward only, each once.

A file that starts with `-- no transaction` (for CREATE INDEX CONCURRENTLY) is run statement by statement; there a
statement ends with the line that ends with `;`, so function bodies do not belong in such a file.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import asyncpg

from headrace.store.errors import DatabaseBusy, InvalidMigrations, MigrationChanged, MigrationFailed

LOCK = 7_215_046_332
"""The advisory lock under which one process at a time migrates a database."""

LOCK_SECONDS = 60.0
"""How long a process waits for another one that migrates."""

_NO_TRANSACTION = "-- no transaction"
_NAME = re.compile(r"^(\d{4})_\w+\.sql$")
_PACKAGE = Path(__file__).resolve().parent.parent

_TABLE = """
CREATE SCHEMA IF NOT EXISTS headrace;
CREATE TABLE IF NOT EXISTS headrace.migration (
    number integer PRIMARY KEY, name text NOT NULL, sha256 text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now()
);
"""

_HOLDER = """
SELECT a.pid, COALESCE(NULLIF(a.application_name, ''), 'program') AS application_name,
       a.backend_start AT TIME ZONE 'UTC' AS backend_start
FROM pg_locks AS l JOIN pg_stat_activity AS a ON a.pid = l.pid
WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1 AND a.datname = current_database()
  AND (l.classid::bigint << 32) | l.objid::bigint = $1::bigint
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
    connection: Any, folder: Path | None = None, *, poll: float = 0.05, patience: float = LOCK_SECONDS
) -> list[str]:
    """Bring a database up to date; the names of the migrations that were applied.

    Waits up to `patience` seconds for another process that migrates. Raises DatabaseBusy, MigrationChanged,
    MigrationFailed, InvalidMigrations.
    """
    wanted = read_migrations(folder or migrations_folder())
    async with _lock(connection, poll, patience):
        await connection.execute(_TABLE)
        missing = await _missing(connection, wanted)
        for migration in missing:
            await _apply(connection, migration)
        return [migration.name for migration in missing]


@asynccontextmanager
async def _lock(connection: Any, poll: float, patience: float) -> AsyncIterator[None]:
    # Asks again and again: a blocking advisory lock would deadlock with CREATE INDEX CONCURRENTLY.
    deadline = time.monotonic() + patience
    while not await connection.fetchval("SELECT pg_try_advisory_lock($1)", LOCK):
        if time.monotonic() > deadline:
            raise await _busy(connection, patience)
        await asyncio.sleep(poll)
    try:
        yield
    finally:
        if not connection.is_closed():
            await connection.execute("SELECT pg_advisory_unlock($1)", LOCK)


async def _busy(connection: Any, patience: float) -> DatabaseBusy:
    holder = await connection.fetchrow(_HOLDER, LOCK)
    who = "another process" if holder is None else "the {application_name} of server process {pid}".format(**holder)
    since = "" if holder is None else f", connected since {holder['backend_start']:%Y-%m-%d %H:%M:%S} UTC"
    return DatabaseBusy(
        f"The database's tables are being changed by {who}{since}; {patience:.0f} s were not enough.",
        remedy="Wait for it to end, or end it: SELECT pg_terminate_backend(<its process>).",
    )


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
    try:
        async with connection.transaction():
            await connection.execute(migration.sql)
            await _note(connection, migration)
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
        raise MigrationFailed(
            f"Migration {migration.name} failed: {error}", remedy="Nothing of it was kept; mend it and start again."
        ) from error


async def _apply_one_by_one(connection: Any, migration: Migration) -> None:
    done = 0
    try:
        for statement in migration.statements:
            await connection.execute(statement)
            done += 1
        await _note(connection, migration)
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
        raise MigrationFailed(
            f"Migration {migration.name} failed after {done} of its {len(migration.statements)} statements: {error}",
            remedy="Those statements were kept, for it runs without a transaction: undo them by hand, and drop an "
            "index that a failed CREATE INDEX CONCURRENTLY left invalid; then mend the file and start again.",
        ) from error


async def _note(connection: Any, migration: Migration) -> None:
    await connection.execute(
        "INSERT INTO headrace.migration (number, name, sha256) VALUES ($1, $2, $3)",
        migration.number,
        migration.name,
        migration.sha256,
    )


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
