"""A project's own database in the embedded server, under a role that cannot see Headrace's tables."""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from headrace.store.embedded import Attachment

LOCK = 7_215_046_333


async def ensure_project_database(attachment: Attachment, pool: Any, project: Path) -> dict[str, str]:
    """Make sure of the database and its role, and give the POSTGRES_* variables to reach it. Safe to call at once."""
    name = re.sub(r"\W+", "_", project.name.lower()).strip("_")[:40] or "project"
    database, role = f"{name}_data", f"{name}_blocks"
    async with pool.acquire() as connection, _lock(connection):
        password = _password(attachment.place.folder.parent / "project-password")
        await _ensure_role(connection, role, password)
        await _ensure_database(connection, database, role)
    return {
        "POSTGRES_HOST": attachment.host,
        "POSTGRES_PORT": str(attachment.port),
        "POSTGRES_DBNAME": database,
        "POSTGRES_USER": role,
        "POSTGRES_PASSWORD": password,
        "POSTGRES_SCHEMA": "public",
    }


@asynccontextmanager
async def _lock(connection: Any) -> AsyncIterator[None]:
    """One process at a time; of the session, since CREATE DATABASE cannot be part of a transaction."""
    await connection.execute("SELECT pg_advisory_lock($1)", LOCK)
    try:
        yield
    finally:
        if not connection.is_closed():
            await connection.execute("SELECT pg_advisory_unlock($1)", LOCK)


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
