"""SQL blocks: a query that becomes a table, or raw statements whose last result is the output."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import asyncpg

from headrace.blocks.io.base import ConnectorFault, ExportWritePolicy
from headrace.blocks.io.config import ConfigFileLoader
from headrace.blocks.io.names import clean_name, fitting, quoted
from headrace.blocks.io.postgres import MOST_ROWS, Postgres, QueryFault
from headrace.blocks.io_config import read_profile
from headrace.blocks.statements import Statement, split_statements
from headrace.blocks.templating import render
from headrace.domain.errors import HeadraceError

Inputs = Mapping[str, Sequence[Any]]
_UPSTREAM = re.compile(r"\{\{[^}]*?\bdf_(\d+)\b[^}]*?\}\}")


class ProviderNotSupported(HeadraceError):
    """A SQL block asks for a database that Headrace has no connector for."""

    code = "provider-not-supported"


class SqlBlockFault(HeadraceError):
    """A SQL block cannot run as it is written. `line` counts from 1 in the rendered text."""

    code = "sql-block"

    def __init__(self, message: str, *, line: int | None = None, remedy: str = "") -> None:
        super().__init__(message, remedy=remedy)
        self.line = line


def run_sql_block(
    text: str,
    inputs: Inputs,
    configuration: Mapping[str, Any],
    kwargs: Mapping[str, Any],
    environ: Mapping[str, str] | None = None,
) -> list[Any]:
    """Run a SQL block; its outputs: one frame, or none.

    `kwargs` are the block's keyword arguments: pipeline_uuid, block_uuid and repo_path among them.
    """
    variables = os.environ if environ is None else environ
    with _database(configuration, kwargs, variables) as database:
        names = _upstream_tables(database, text, inputs, configuration, kwargs)
        query = render(text, environ=variables, variables=_bare(kwargs), names=names)
        return _run(database, query, configuration, kwargs)


def _run(database: Postgres, query: str, configuration: Mapping[str, Any], kwargs: Mapping[str, Any]) -> list[Any]:
    if configuration.get("disable_query_preprocessing"):
        database.execute_query_raw(query)
        return []
    statements = split_statements(query)
    if not statements:
        raise SqlBlockFault(f"The SQL block {kwargs['block_uuid']} has no statement.", remedy="Write a query in it.")
    limit = int(configuration.get("limit_in_pipeline_run") or MOST_ROWS)
    if configuration.get("use_raw_sql"):
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
    return Postgres.with_config(ConfigFileLoader(path, profile, config=read_profile(path, profile, environ)))


def _bare(kwargs: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in kwargs.items() if name not in ("logger", "context")}


def _upstream_tables(
    database: Postgres, text: str, inputs: Inputs, configuration: Mapping[str, Any], kwargs: Mapping[str, Any]
) -> dict[str, str]:
    """The names df_1, df_2, … that the query mentions, each as the table into which its upstream was exported."""
    tables: dict[str, str] = {}
    for number in sorted({int(found) for found in _UPSTREAM.findall(text)}):
        if not 1 <= number <= len(inputs):
            raise SqlBlockFault(
                f"The query mentions df_{number}, but the block has {len(inputs)} upstream blocks.",
                remedy="df_1 is the first of upstream_blocks.",
            )
        uuid, outputs = list(inputs.items())[number - 1]
        tables[f"df_{number}"] = _exported(database, uuid, outputs, configuration, kwargs)
    return tables


def _exported(
    database: Postgres, uuid: str, outputs: Sequence[Any], configuration: Mapping[str, Any], kwargs: Mapping[str, Any]
) -> str:
    if not outputs:
        raise SqlBlockFault(f"The upstream block {uuid} has no output to query.")
    asked = (configuration.get("upstream_block_configuration") or {}).get(uuid) or {}
    table = asked.get("table_name") or _table_name(kwargs["pipeline_uuid"], uuid)
    schema = _schema(database, configuration)
    value = outputs[0] if len(outputs) == 1 else list(outputs)
    # Names stay as they are in the frame but for case, so that the query can speak of them.
    database.export(value, schema, table, if_exists="replace", verbose=False)
    return quoted(schema, table.lower())


def _table_name(pipeline: str, block: str) -> str:
    return fitting(clean_name(f"{pipeline}_{block}_v1", allow_reserved=True))


def _schema(database: Postgres, configuration: Mapping[str, Any]) -> str:
    return str(configuration.get("data_provider_schema") or database.default_schema())


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
    schema = _schema(database, configuration)
    own = _table_name(kwargs["pipeline_uuid"], kwargs["block_uuid"])
    table = str(configuration.get("data_provider_table") or own)
    policy = configuration.get("export_write_policy") or ExportWritePolicy.APPEND
    with _Told(statements[0]):
        database.export(
            None, schema, table, str(policy), query_string=statements[0].text, case_sensitive=True, verbose=False
        )
    return [database.sample(schema, table, limit)]


def _raw(database: Postgres, statements: Sequence[Statement], limit: int) -> list[Any]:
    """All statements in one transaction; the rows of the last one that gives any."""
    output: list[Any] = []
    for statement in statements:
        with _Told(statement):
            frame = database.rows_of(statement.text, limit)
        output = output if frame is None else [frame]
    database.commit()
    return output


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
