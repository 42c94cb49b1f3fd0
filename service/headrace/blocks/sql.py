"""SQL blocks: a query that becomes a table, or raw statements whose last result is the output."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import asyncpg

from headrace.blocks.block_output import placed
from headrace.blocks.io.base import ConnectorFault, ExportWritePolicy
from headrace.blocks.io.config import ConfigFileLoader
from headrace.blocks.io.names import quoted
from headrace.blocks.io.postgres import MOST_ROWS, Postgres, QueryFault
from headrace.blocks.io_config import read_profile
from headrace.blocks.secrets import secrets_in
from headrace.blocks.sql_faults import ProviderNotSupported, SqlBlockFault
from headrace.blocks.sql_tables import is_raw, own_table, upstream_tables
from headrace.blocks.statements import Statement, split_statements
from headrace.blocks.templating import render

__all__ = ["ProviderNotSupported", "SqlBlockFault", "run_sql_block"]

Inputs = Mapping[str, Sequence[Any]]
ROWS_OF_A_CHANGED_TABLE = 1000
"""How many rows of the table that raw statements filled are the output, where no statement gives any."""


def run_sql_block(
    text: str,
    inputs: Inputs,
    configuration: Mapping[str, Any],
    kwargs: Mapping[str, Any],
    made: Mapping[str, Mapping[str, Any]] | None = None,
    environ: Mapping[str, str] | None = None,
) -> list[Any]:
    """Run a SQL block; its outputs: one frame, or none. Raises SqlBlockFault and ProviderNotSupported.

    `kwargs` are the block's keyword arguments: pipeline_uuid, block_uuid and repo_path among them. `made` has the
    configuration of each upstream block that is a SQL block too.
    """
    variables = os.environ if environ is None else environ
    query, values = placed(text, inputs, kwargs)
    with _database(configuration, kwargs, variables) as database:
        tables = upstream_tables(database, text, inputs, configuration, kwargs, made or {})
        rendered = render(
            query,
            environ=variables,
            variables=_bare(kwargs),
            names={**values, **tables},
            secret=secrets_in(variables),
        )
        return _run(database, rendered, configuration, kwargs)


def _run(database: Postgres, query: str, configuration: Mapping[str, Any], kwargs: Mapping[str, Any]) -> list[Any]:
    if configuration.get("disable_query_preprocessing"):
        with _Told(Statement(1, query, 1)):
            database.execute_query_raw(query)
        return []
    statements = split_statements(query)
    if not statements:
        raise SqlBlockFault(f"The SQL block {kwargs['block_uuid']} has no statement.", remedy="Write a query in it.")
    limit = int(configuration.get("limit_in_pipeline_run") or MOST_ROWS)
    if is_raw(configuration):
        return _raw(database, statements, limit)
    return _table(database, statements, configuration, kwargs, limit)


def _database(configuration: Mapping[str, Any], kwargs: Mapping[str, Any], environ: Mapping[str, str]) -> Postgres:
    provider = str(configuration.get("data_provider") or "postgres").lower()
    if provider not in ("postgres", "postgresql"):
        raise ProviderNotSupported(
            f"The SQL block {kwargs['block_uuid']} asks for the provider {provider}.",
            remedy="SQL blocks run on postgres. Reach other databases from a Python block.",
        )
    profile = str(configuration.get("data_provider_profile") or "default")
    path = Path(kwargs["repo_path"]) / "io_config.yaml"
    return Postgres.with_config(
        ConfigFileLoader(path, profile, config=read_profile(path, profile, environ, secrets_in(environ)))
    )


def _bare(kwargs: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in kwargs.items() if name not in ("logger", "context")}


def _table(
    database: Postgres,
    statements: Sequence[Statement],
    configuration: Mapping[str, Any],
    kwargs: Mapping[str, Any],
    limit: int,
) -> list[Any]:
    """The query's rows in the block's table, and the table's rows as the output."""
    if len(statements) > 1:
        raise SqlBlockFault(
            f"The SQL block {kwargs['block_uuid']} has {len(statements)} statements; the second is on line "
            f"{statements[1].line}.",
            line=statements[1].line,
            remedy="Keep one query, or set use_raw_sql: true.",
        )
    schema, table = own_table(database, configuration, kwargs["pipeline_uuid"], kwargs["block_uuid"])
    policy = str(configuration.get("export_write_policy") or ExportWritePolicy.APPEND)
    with _Told(statements[0]):
        database.export(None, schema, table, policy, query_string=statements[0].text, verbose=False)
    return [database.sample(schema, table, limit)]


def _raw(database: Postgres, statements: Sequence[Statement], limit: int) -> list[Any]:
    """All statements in one transaction; the rows of the last one that gives any, else of the table they filled."""
    output: list[Any] = []
    for statement in statements:
        with _Told(statement):
            frame = database.rows_of(statement.text, limit)
        output = output if frame is None else [frame]
    output = output or _filled(database, statements, limit)
    database.commit()
    return output


def _filled(database: Postgres, statements: Sequence[Statement], limit: int) -> list[Any]:
    """Rows of the table that the last statement with a target wrote to, if it is still there."""
    target = next((name for statement in reversed(statements) if (name := statement.target)), None)
    if target is None or not database.has_relation(quoted(*target)):
        return []
    query = f"SELECT * FROM {quoted(*target)}"  # noqa: S608 - quoted
    return [database.rows_of(query, min(limit, ROWS_OF_A_CHANGED_TABLE))]


class _Told:
    """Tells of an error in a statement with its number, its line and what Postgres said."""

    def __init__(self, statement: Statement) -> None:
        self._statement = statement

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if not isinstance(error, QueryFault | ConnectorFault):
            return
        line = self._statement.line + _lines_before(error.__cause__, self._statement.text)
        message = f"Statement {self._statement.number}, line {line}: {error.message}"
        raise SqlBlockFault(message, line=line, remedy=error.remedy) from error


def _lines_before(error: BaseException | None, text: str) -> int:
    """How many lines into the statement Postgres found the error."""
    position = getattr(error, "position", None) if isinstance(error, asyncpg.PostgresError) else None
    return text.count("\n", 0, int(position) - 1) if position else 0
