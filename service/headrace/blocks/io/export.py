"""Exports of frames and queries into tables: replace, append, fail and upsert, each within the transaction at hand."""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import asyncpg
import pandas as pd

from headrace.blocks.io.base import ConnectorFault, ExportWritePolicy
from headrace.blocks.io.catalog import TableFault, column_types, grants, refuse_missing
from headrace.blocks.io.columns import Column
from headrace.blocks.io.copy import copy_frame
from headrace.blocks.io.names import listed, quoted
from headrace.blocks.io.staging import insert_staged

_TYPE = re.compile(r"[A-Za-z_][\w .\"]*(\(\s*\d+\s*(,\s*\d+\s*)?\))?[A-Za-z ]*(\[\])*")


@dataclass(frozen=True)
class Target:
    """The table to be written and how."""

    schema: str
    table: str
    policy: ExportWritePolicy = ExportWritePolicy.REPLACE
    cascade: bool = False
    unique: tuple[str, ...] = ()
    """Columns that together are unique: rows that are there already are updated or left."""
    update: bool = False
    types: dict[str, str] = field(default_factory=dict)
    """Types in Postgres by column name, instead of those that the frame asks for."""

    def __str__(self) -> str:
        return f"{self.schema}.{self.table}"

    def type_of(self, column: Column) -> str:
        """The type that a new table gives a column."""
        wanted = self.types.get(column.name) or self.types.get(str(column.label)) or column.kind.sql
        if not _TYPE.fullmatch(wanted):
            raise ConnectorFault(f"{wanted!r} in overwrite_types is not the name of a type in Postgres.")
        return wanted


async def export_frame(connection: Any, frame: pd.DataFrame, columns: Sequence[Column], target: Target) -> int:
    """Write all rows of a frame; the number of rows. Runs within the transaction that the caller holds."""
    _check_unique(columns, target)
    if await _keeps_table(connection, target):
        return await insert_staged(
            connection, frame, columns, target.schema, target.table, target.unique, target.update
        )
    name = _beside()
    await connection.execute(f"CREATE TABLE {quoted(target.schema, name)} ({_definitions(columns, target)})")
    rows = await _fill(connection, frame, columns, target, name)
    await _swap(connection, target, name)
    return rows


async def _fill(connection: Any, frame: pd.DataFrame, columns: Sequence[Column], target: Target, name: str) -> int:
    if target.unique:
        await connection.execute(f"CREATE UNIQUE INDEX ON {quoted(target.schema, name)} ({listed(target.unique)})")
    if target.unique or any(target.type_of(column) != column.kind.sql for column in columns):
        return await insert_staged(connection, frame, columns, target.schema, name, target.unique, target.update)
    # A reader whose snapshot is older finds the new table by its name: without freezing it would find it empty.
    freeze = not await connection.fetchval("SELECT EXISTS (SELECT FROM pg_cursors WHERE name <> '')")
    return await copy_frame(connection, frame, columns, schema=target.schema, table=name, freeze=freeze)


async def export_query(connection: Any, query: str, target: Target) -> None:
    """Write what a query gives into the table. Runs within the transaction that the caller holds."""
    if await _keeps_table(connection, target):
        await _append_query(connection, query, target)
        return
    name = _beside()
    await connection.execute(f"CREATE TABLE {quoted(target.schema, name)} AS {query}")
    await _swap(connection, target, name)


async def _append_query(connection: Any, query: str, target: Target) -> None:
    names = [attribute.name for attribute in (await connection.prepare(query)).get_attributes()]
    known = await column_types(connection, target.schema, target.table)
    refuse_missing([name for name in names if name not in known], target.schema, target.table)
    place = quoted(target.schema, target.table)
    await connection.execute(f"INSERT INTO {place} ({listed(names)}) {query}")


async def _keeps_table(connection: Any, target: Target) -> bool:
    """Whether rows are to be added to the table that is there, rather than a new one put in its place."""
    if not await connection.fetchval("SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = $1)", target.schema):
        await _lock(connection, quoted(target.schema))
        await connection.execute(f"CREATE SCHEMA IF NOT EXISTS {quoted(target.schema)}")
    if target.policy is ExportWritePolicy.REPLACE:
        return False
    if not await _exists(connection, target):
        # Another export may make it right now: the first one does, and the others see it.
        await _lock(connection, str(target))
    return await _exists(connection, target)


async def _exists(connection: Any, target: Target) -> bool:
    kind = await connection.fetchval(
        "SELECT c.relkind::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
        " WHERE n.nspname = $1 AND c.relname = $2",
        target.schema,
        target.table,
    )
    if kind not in (None, "r", "p"):
        raise TableFault(f"{target} exists and is not a table.", remedy="Choose another table_name.")
    if kind is not None and target.policy is ExportWritePolicy.FAIL:
        raise TableFault(f"The table {target} exists already.", remedy="Use if_exists='append' or 'replace'.")
    return kind is not None


async def _lock(connection: Any, name: str) -> None:
    """Let no other export of this name go on before this transaction ends."""
    await connection.execute("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", name)


async def _swap(connection: Any, target: Target, name: str) -> None:
    """Put the new table in the old one's place. Until the commit readers see the old one; then they see the new one."""
    await _lock(connection, str(target))
    if await _exists(connection, target):
        for grant in await grants(connection, target.schema, target.table, quoted(target.schema, name)):
            await connection.execute(grant)
        await _drop(connection, target)
    await connection.execute(f"ALTER TABLE {quoted(target.schema, name)} RENAME TO {quoted(target.table)}")


async def _drop(connection: Any, target: Target) -> None:
    try:
        await connection.execute(
            f"DROP TABLE {quoted(target.schema, target.table)} {'CASCADE' if target.cascade else ''}"
        )
    except asyncpg.DependentObjectsStillExistError as error:
        raise TableFault(
            f"The table {target} cannot be replaced, because others depend on it: {error.detail}.",
            remedy="Drop them first, or pass cascade_on_drop=True to drop them along with it.",
        ) from error


def _check_unique(columns: Sequence[Column], target: Target) -> None:
    names = {column.name for column in columns}
    unknown = [name for name in target.unique if name not in names]
    if unknown:
        raise ConnectorFault(f"unique_constraints names {', '.join(unknown)}, but the frame has no such column.")


def _definitions(columns: Sequence[Column], target: Target) -> str:
    return ", ".join(f"{quoted(column.name)} {target.type_of(column)}" for column in columns)


def _beside() -> str:
    return f"_headrace_{secrets.token_hex(6)}"
