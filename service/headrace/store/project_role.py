"""A project's own database in the embedded server, under a role that cannot see Headrace's tables."""

from __future__ import annotations

import hashlib
import os
import re
import secrets
from contextlib import suppress
from pathlib import Path
from typing import Any

from headrace.store.database import Database
from headrace.store.embedded import Attachment, place_of
from headrace.store.locking import one_at_a_time
from headrace.store.queries import QUERIES

LOCK = 7_215_046_333


async def project_database(database: Database, project: Path) -> dict[str, str]:
    """The POSTGRES_* variables with which the blocks of a project reach a database of their own, made where it lacks.

    Empty where the server is not the embedded one. Safe to call at once, and again.
    """
    attachment = database.attachment
    if attachment is None:
        return {}
    async with (
        database.reserved() as connection,
        one_at_a_time(connection, LOCK, "The databases of projects are being made"),
    ):
        name = await _kept_name(connection, project, _is_its_own(attachment, project))
        password = _password(attachment.place.folder.parent / "project-password")
        await _ensure_role(connection, f"{name}_blocks", password)
        await _ensure_database(connection, f"{name}_data", f"{name}_blocks")
    return {
        "POSTGRES_HOST": attachment.host,
        "POSTGRES_PORT": str(attachment.port),
        "POSTGRES_DBNAME": f"{name}_data",
        "POSTGRES_USER": f"{name}_blocks",
        "POSTGRES_PASSWORD": password,
        "POSTGRES_SCHEMA": "public",
    }


def _is_its_own(attachment: Attachment, project: Path) -> bool:
    """Whether the server lies in the project's own folder, and moves with it."""
    return attachment.place.folder == place_of(project, {}).folder


async def _kept_name(connection: Any, project: Path, is_its_own: bool) -> str:
    """The name that a project's database and role begin with: as it was given first, and no other project's."""
    path = str(project)
    await connection.execute(QUERIES["note_project"], path, project.name)
    names = {row["path"]: row["blocks_name"] for row in await connection.fetch(QUERIES["names_of_blocks"])}
    if path in names:
        return str(names[path])
    was_moved = is_its_own and len(names) == 1
    name = str(*names.values()) if was_moved else _free_name(project, set(names.values()))
    async with connection.transaction():
        if was_moved:
            await connection.execute(QUERIES["name_blocks"], *names, None)
        await connection.execute(QUERIES["name_blocks"], path, name)
    return name


def _free_name(project: Path, taken: set[str]) -> str:
    name = re.sub(r"\W+", "_", project.name.lower()).strip("_")[:40] or "project"
    return f"{name}_{_digest(project)}" if name in taken else name


def _digest(project: Path) -> str:
    return hashlib.sha256(os.fsencode(project)).hexdigest()[:12]


def _password(path: Path) -> str:
    """The password in a file, made on first sight: whole or not at all, since a kill may come at any time."""
    with suppress(FileNotFoundError):
        if kept := path.read_text("ascii").strip():
            return kept
    partial = path.with_name(f"{path.name}.partial")
    partial.unlink(missing_ok=True)
    descriptor = os.open(partial, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        password = secrets.token_hex(16)
        file.write(password)
        file.flush()
        os.fsync(file.fileno())
    partial.rename(path)
    return password


async def _ensure_role(connection: Any, role: str, password: str) -> None:
    exists = await connection.fetchval("SELECT 1 FROM pg_roles WHERE rolname = $1", role)
    verb = "ALTER" if exists else "CREATE"
    await connection.execute(f"{verb} ROLE {_quoted(role)} LOGIN PASSWORD '{password}'")


async def _ensure_database(connection: Any, database: str, role: str) -> None:
    if not await connection.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", database):
        # template0: somebody may be connected to template1, which cannot be copied then
        await connection.execute(f"CREATE DATABASE {_quoted(database)} OWNER {_quoted(role)} TEMPLATE template0")
    current = await connection.fetchval("SELECT current_database()")
    for closed in (database, current, "postgres", "template1"):
        await connection.execute(f"REVOKE CONNECT ON DATABASE {_quoted(closed)} FROM PUBLIC")


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
