"""`headrace db`: where the database is, its migrations, its address for psql, and psql itself."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from headrace.blocks.io_config import read_profile
from headrace.domain.errors import HeadraceError
from headrace.project.reading import read_project
from headrace.store.binaries import find_binaries
from headrace.store.database import Database, open_database
from headrace.store.errors import StoreError
from headrace.store.migrations import MigrationStatus
from headrace.store.migrations import status as migration_status
from headrace.store.project_role import project_database
from headrace.terminal.errors import ExitCode
from headrace.terminal.looks import counted, moment
from headrace.terminal.screen import Screen

CONNECTIONS = "io_config.yaml"
KEPT_MINUTES = 10
"""How long the embedded server stays up after its address was told."""


class PsqlNotFound(HeadraceError):
    """There is no psql on this machine."""

    code = "psql-not-found"


class NoPostgresProfile(HeadraceError):
    """A connection profile does not lead to a Postgres database."""

    code = "no-postgres-profile"


async def show_status(screen: Screen) -> ExitCode:
    """Print where the database is, and each migration with the time when it was applied. Changes nothing in it."""
    async with open_database(screen.project.resolve(), migrate=False) as database:
        async with database.connection() as connection:
            migrations = await migration_status(connection)
        _tell_status(screen, database, migrations)
    return ExitCode.COMPLETED


def _tell_status(screen: Screen, database: Database, migrations: Sequence[MigrationStatus]) -> None:
    address = database.address
    if screen.is_json:
        folder = None if address.folder is None else str(address.folder)
        screen.out.write_json({
            "kind": address.kind, "version": address.version, "dsn": address.dsn, "folder": folder,
            "migrations": [{"name": one.name, "applied_at": one.applied_at, "known": one.known} for one in migrations],
        })  # fmt: skip
        return
    screen.out.say(f"{address.kind} Postgres {address.version}", "bold")
    screen.out.say(f"  address  {without_password(address.dsn)}")
    if address.folder is not None:
        screen.out.say(f"  data     {address.folder}")
        screen.out.say(f"  log      {address.folder.parent / 'server.log'}")
    screen.out.say("migrations", "bold")
    for migration in migrations:
        told = moment(migration.applied_at) or "not applied"
        screen.out.say(f"  {migration.name}  {told}" + ("" if migration.known else "  by a newer Headrace"))
    if any(migration.applied_at is None for migration in migrations):
        screen.out.say(f"Apply them: {screen.command('db', 'migrate')}")


async def migrate_database(screen: Screen) -> ExitCode:
    """Bring the database up to date, and say what was applied."""
    project = screen.project.resolve()
    async with open_database(project, migrate=False) as database:
        applied = await database.migrate()
    if screen.is_json:
        screen.out.write_json(applied)
        return ExitCode.COMPLETED
    for name in applied:
        screen.out.say(f"applied {name}")
    screen.out.say(f"{counted(len(applied), 'migration')} applied." if applied else "The database is up to date.")
    return ExitCode.COMPLETED


async def print_dsn(screen: Screen, profile: str | None) -> ExitCode:
    """Print the address of Headrace's database, or of the one that a profile's blocks reach, as psql takes it."""
    async with open_database(screen.project.resolve()) as database:
        dsn = await _dsn(screen, database, profile)
        if database.attachment is not None:
            database.attachment.keep_for(KEPT_MINUTES * 60)
            screen.err.say(
                f"The server stays up for {KEPT_MINUTES} minutes more; `{screen.command('db', 'psql')}` holds it.",
                "dim",
            )
    screen.out.write(dsn + "\n")
    return ExitCode.COMPLETED


async def run_psql(screen: Screen, profile: str | None, arguments: Sequence[str]) -> int:
    """Run psql on Headrace's database, or on the one that a profile's blocks reach; its own exit code."""
    async with open_database(screen.project.resolve()) as database:
        dsn = await _dsn(screen, database, profile)
        asyncio.get_running_loop().add_signal_handler(signal.SIGINT, _left_to_psql)
        secret = {"PGPASSWORD": unquote(password)} if (password := urlsplit(dsn).password) else {}
        process = await asyncio.create_subprocess_exec(
            _psql(database), without_password(dsn), *arguments, env={**os.environ, **secret}
        )
        return await process.wait()


def _left_to_psql() -> None:
    """Ctrl-C ends psql's query, and neither psql nor this process."""


async def _dsn(screen: Screen, database: Database, profile: str | None) -> str:
    if profile is None:
        return database.address.dsn
    root = screen.project.resolve()
    environ = dict(read_project(root).environ)
    if "POSTGRES_HOST" not in environ:
        environ |= await project_database(database, root)
    return profile_dsn(profile, read_profile(root / CONNECTIONS, profile, environ))


def profile_dsn(name: str, settings: Mapping[str, Any]) -> str:
    """The address that a profile's POSTGRES_* settings mean. Raises NoPostgresProfile."""
    values = {key: quote(str(settings.get(f"POSTGRES_{key}") or ""), safe="") for key in
              ("USER", "PASSWORD", "HOST", "PORT", "DBNAME")}  # fmt: skip
    if not values["HOST"]:
        raise NoPostgresProfile(
            f"Profile {name} of {CONNECTIONS} has no POSTGRES_HOST.", remedy="Name a profile that leads to Postgres."
        )
    user = f"{values['USER']}:{values['PASSWORD']}" if values["PASSWORD"] else values["USER"]
    return f"postgresql://{user}@/{values['DBNAME']}?host={values['HOST']}&port={values['PORT'] or 5432}"


def without_password(dsn: str) -> str:
    """An address that may be shown."""
    parts = urlsplit(dsn)
    account, at, host = parts.netloc.rpartition("@")
    return urlunsplit(parts._replace(netloc=f"{account.partition(':')[0]}{at}{host}"))


def _psql(database: Database) -> str:
    """The psql beside the embedded server's program, else the one on the path, else any that comes with Postgres."""
    found = [_beside_server(), shutil.which("psql")]
    for candidate in found if database.attachment is not None else reversed(found):
        if candidate is not None:
            return candidate
    raise PsqlNotFound("There is no psql on this machine.", remedy="Install Postgres's client programs.")


def _beside_server() -> str | None:
    with suppress(StoreError):
        path = find_binaries(os.environ).folder / "psql"
        return str(path) if path.exists() else None
    return None
