"""A project's own database in the embedded server, under a role that cannot see Headrace's tables."""

from __future__ import annotations

import os
import re
import secrets
from pathlib import Path
from typing import Any

import asyncpg

from headrace.store.embedded import Attachment

LOCK = 7_215_046_333


async def ensure_project_database(attachment: Attachment, pool: Any, project: Path) -> dict[str, str]:
    """Make sure of the database and its role, and give the POSTGRES_* variables to reach it. Safe to call at once."""
    name = re.sub(r"\W+", "_", project.name.lower()).strip("_")[:40] or "project"
    database, role = f"{name}_data", f"{name}_blocks"
    password = _password(attachment.place.folder.parent / "project-password")
    async with pool.acquire() as connection:
        async with connection.transaction():
            await connection.execute("SELECT pg_advisory_xact_lock($1)", LOCK)
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


def _password(path: Path) -> str:
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    except FileExistsError:
        return path.read_text().strip()
    with os.fdopen(descriptor, "w") as file:
        password = secrets.token_hex(16)
        file.write(password)
    return password


async def _ensure_role(connection: Any, role: str, password: str) -> None:
    exists = await connection.fetchval("SELECT 1 FROM pg_roles WHERE rolname = $1", role)
    verb = "ALTER" if exists else "CREATE"
    await connection.execute(f"{verb} ROLE {_quoted(role)} LOGIN PASSWORD '{password}'")


async def _ensure_database(connection: Any, database: str, role: str) -> None:
    if not await connection.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", database):
        try:
            await connection.execute(f"CREATE DATABASE {_quoted(database)} OWNER {_quoted(role)}")
        except (asyncpg.DuplicateDatabaseError, asyncpg.UniqueViolationError):
            pass
    current = await connection.fetchval("SELECT current_database()")
    for closed in (current, "postgres", "template1"):
        await connection.execute(f"REVOKE CONNECT ON DATABASE {_quoted(closed)} FROM PUBLIC")


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
