"""Rows for a table that exists: straight into it where the types agree, else by way of a temporary table with casts."""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence
from typing import Any

import asyncpg
import pandas as pd

from headrace.blocks.io.catalog import TableFault, column_types, refuse_missing
from headrace.blocks.io.columns import Column, UnstorableValue
from headrace.blocks.io.copy import copy_frame
from headrace.blocks.io.names import listed, quoted

_SAME = {
    "timestamp without time zone": "timestamp",
    "timestamp with time zone": "timestamptz",
    "time without time zone": "time",
}
"""Types as the catalog writes them, to how we do."""
_TEXTS = ("text", "character varying", "character", "citext", "name")
_NUMBERS = ("smallint", "integer", "bigint", "numeric", "real", "double precision")
_LENGTH = re.compile(r"\((\d+)\)")
_CHECKS_INPUT = 16
"""The first version of the server that can tell by itself whether a text is valid for a type."""
_IS_VALID = """
CREATE OR REPLACE FUNCTION pg_temp.headrace_input_is_valid(input text, kind text) RETURNS boolean
LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('SELECT $1::%s', kind) USING input;
    RETURN true;
EXCEPTION WHEN data_exception OR integrity_constraint_violation THEN
    RETURN false;
END
$$
"""
"""What older servers are told to answer with: slowly, so only once it is known that some value is not valid."""


async def insert_staged(
    connection: Any,
    frame: pd.DataFrame,
    columns: Sequence[Column],
    schema: str,
    table: str,
    unique: Sequence[str],
    update: bool,
) -> int:
    """Add the rows by column name, those there already under `unique` updated or left; their number."""
    known = await column_types(connection, schema, table)
    refuse_missing([column.name for column in columns if column.name not in known], schema, table)
    types = {column.name: _SAME.get(known[column.name], known[column.name]) for column in columns}
    if not unique and all(types[column.name] == column.kind.sql for column in columns):
        return await copy_frame(connection, frame, columns, schema=schema, table=table)
    staged = f"_headrace_{secrets.token_hex(6)}"
    definitions = ", ".join(f"{quoted(column.name)} {column.kind.sql}" for column in columns)
    await connection.execute(f"CREATE TEMPORARY TABLE {quoted(staged)} ({definitions}) ON COMMIT DROP")
    rows = await copy_frame(connection, frame, columns, schema=None, table=staged)
    for column in columns:
        await _check_casts(connection, frame, column, types[column.name], staged)
    await _insert(connection, columns, types, quoted(staged), quoted(schema, table), unique, update)
    await connection.execute(f"DROP TABLE {quoted(staged)}")
    return rows


async def _insert(
    connection: Any,
    columns: Sequence[Column],
    types: dict[str, str],
    staged: str,
    target: str,
    unique: Sequence[str],
    update: bool,
) -> None:
    names = [column.name for column in columns]
    values = ", ".join(_cast(column, types[column.name]) for column in columns)
    source = _last_of_each(staged, names, unique) if unique and update else staged
    query = (
        f"INSERT INTO {target} ({listed(names)}) SELECT {values} FROM {source} AS staged"  # noqa: S608 - quoted names
        f" ORDER BY staged.{'_row' if source != staged else 'ctid'}{_on_conflict(names, unique, update)}"
    )
    try:
        await connection.execute(query)
    except asyncpg.InvalidColumnReferenceError as error:
        raise TableFault(
            f"The table {target} has no unique index on {', '.join(unique)}: {error}.",
            remedy=f"CREATE UNIQUE INDEX ON {target} ({listed(unique)}), or export with if_exists='replace'.",
        ) from error
    except asyncpg.PostgresError as error:
        raise TableFault(f"The table {target} does not take the rows: {error}.") from error


def _last_of_each(staged: str, names: Sequence[str], unique: Sequence[str]) -> str:
    """Of rows with the same key only the last counts; keys with a NULL are never the same."""
    no_key = " OR ".join(f"{quoted(name)} IS NULL" for name in unique)
    return (
        f"(SELECT * FROM (SELECT {listed(names)}, ctid AS _row, row_number() OVER"  # noqa: S608 - quoted names
        f" (PARTITION BY {listed(unique)} ORDER BY ctid DESC) AS _place FROM {staged}) AS numbered"
        f" WHERE _place = 1 OR {no_key})"
    )


def _on_conflict(names: Sequence[str], unique: Sequence[str], update: bool) -> str:
    if not unique:
        return ""
    others = [name for name in names if name not in unique]
    if not update or not others:
        return f" ON CONFLICT ({listed(unique)}) DO NOTHING"
    sets = ", ".join(f"{quoted(name)} = EXCLUDED.{quoted(name)}" for name in others)
    return f" ON CONFLICT ({listed(unique)}) DO UPDATE SET {sets}"


def _cast(column: Column, wanted: str) -> str:
    name = f"staged.{quoted(column.name)}"
    # An explicit cast to varchar(n) would cut the text off; an assignment refuses it.
    if column.kind.sql == wanted or _is_text(wanted):
        return name
    # A cast from double precision to numeric keeps 15 digits, its text keeps all.
    return f"{name}::text::{wanted}" if _is_exact_of_float(column, wanted) else f"{name}::{wanted}"


def _is_text(kind: str) -> bool:
    return kind.split("(")[0].strip() in _TEXTS


def _is_exact_of_float(column: Column, wanted: str) -> bool:
    return wanted.startswith("numeric") and column.kind.sql in ("real", "double precision")


async def _check_casts(connection: Any, frame: pd.DataFrame, column: Column, wanted: str, staged: str) -> None:
    """Refuse a cast that would change a value, with the value's row."""
    if column.kind.sql == wanted:
        return
    found = await _first_loss(connection, column, staged, wanted)
    if found is None:
        return
    why = f"{found['value']!r:.80} cannot be stored as {wanted} without a change"
    raise UnstorableValue(str(column.label), frame.index[found["row"]], found["row"], why)


async def _first_loss(connection: Any, column: Column, staged: str, wanted: str) -> Any:
    """The first row whose value the cast would change or not take, and the value; None where there is none."""
    if connection.get_server_version().major >= _CHECKS_INPUT:
        return await _first_row(connection, column, _loses(column, wanted, "pg_input_is_valid"), staged, wanted)
    await connection.execute("SAVEPOINT headrace_look")
    try:
        found = await _first_row(connection, column, _loses(column, wanted, None), staged, wanted)
    except TableFault:
        await connection.execute("ROLLBACK TO headrace_look; RELEASE headrace_look")
        await connection.execute(_IS_VALID)
        slowly = _loses(column, wanted, "pg_temp.headrace_input_is_valid")
        return await _first_row(connection, column, slowly, staged, wanted)
    await connection.execute("RELEASE headrace_look")
    return found


def _loses(column: Column, wanted: str, is_valid: str | None) -> str:
    """The test in SQL for values that the cast would change; those that it would not take raise, or pass for changed
    where a function `is_valid` is at hand that tells."""
    name = quoted(column.name)
    if _is_text(wanted):
        most = _LENGTH.search(wanted)
        return f"char_length({name}::text) > {most[1]}" if most else "false"
    if column.kind.sql == "text":
        return (
            f"({name}::{wanted} IS NULL) <> ({name} IS NULL)"
            if is_valid is None
            else f"NOT {_told(is_valid, name, wanted)}"
        )
    cast = f"{name}::text" if _is_exact_of_float(column, wanted) else name
    changed = f"({cast}::{wanted})::{column.kind.sql} IS DISTINCT FROM {name}"
    if column.kind.sql not in _NUMBERS or is_valid is None:
        return changed
    return f"CASE WHEN {_told(is_valid, f'{name}::text', wanted)} THEN {changed} ELSE {name} IS NOT NULL END"


def _told(is_valid: str, value: str, kind: str) -> str:
    literal = kind.replace("'", "''")
    return f"{is_valid}({value}, '{literal}')"


async def _first_row(connection: Any, column: Column, test: str, staged: str, wanted: str) -> Any:
    try:
        return await connection.fetchrow(
            f"SELECT row, {quoted(column.name)}::text AS value FROM"  # noqa: S608 - quoted names
            f" (SELECT *, row_number() OVER (ORDER BY ctid) - 1 AS row FROM {quoted(staged)}) AS numbered"
            f" WHERE {test} ORDER BY row LIMIT 1"
        )
    except asyncpg.PostgresError as error:
        raise TableFault(
            f"Column {column.label} cannot be stored as {wanted}: {error}.",
            remedy="Convert the column before the export.",
        ) from error
