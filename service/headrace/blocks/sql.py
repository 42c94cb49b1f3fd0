"""Runs SQL blocks, raw and not, on the Postgres that their profile names."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import asyncpg
import pandas as pd

from headrace.blocks.io.columns import quoted
from headrace.blocks.io.config import ConfigFileLoader
from headrace.blocks.io.postgres import Postgres, TableExists
from headrace.blocks.statements import Statement, split_statements
from headrace.blocks.templating import render
from headrace.domain.errors import HeadraceError

MOST_ROWS = 10_000_000


class ProviderNotSupported(HeadraceError):
    """A SQL block names a database that Headrace cannot speak to yet."""

    code = "provider-not-supported"


class StatementFailed(HeadraceError):
    """Postgres refused a statement of a SQL block."""

    code = "statement-failed"


def run_sql_block(
    text: str, inputs: Mapping[str, Sequence[Any]], configuration: Mapping[str, Any], kwargs: Mapping[str, Any]
) -> list[Any]:
    """Run a SQL block; its outputs: one frame, or none. All of a block's statements commit together.

    `{{ df_1 }}` is the table of the first upstream block: a frame is exported to it when the text mentions it. Raises
    ProviderNotSupported, StatementFailed with the statement's number and line.
    """
    provider = str(configuration.get("data_provider") or "postgres").lower()
    if provider not in ("postgres", "postgresql"):
        raise ProviderNotSupported(f"SQL blocks cannot use {provider} yet.", remedy="Set data_provider: postgres.")
    path = Path(str(kwargs["repo_path"])) / "io_config.yaml"
    loader = ConfigFileLoader(path, str(configuration.get("data_provider_profile") or "default"))
    with Postgres.with_config(loader) as database:
        return _Run(database, text, inputs, configuration, kwargs).outputs()


class _Run:
    def __init__(
        self,
        database: Postgres,
        text: str,
        inputs: Mapping[str, Sequence[Any]],
        configuration: Mapping[str, Any],
        kwargs: Mapping[str, Any],
    ) -> None:
        self.database = database
        self.inputs = inputs
        self.configuration = configuration
        self.kwargs = kwargs
        self.schema = str(configuration.get("data_provider_schema") or database.default_schema())
        self.limit = int(configuration.get("limit_in_pipeline_run") or MOST_ROWS)
        self.text = self._rendered(text)

    def outputs(self) -> list[Any]:
        if self.configuration.get("disable_query_preprocessing"):
            self._tried(Statement(self.text, 1), 1, lambda: self.database.execute_query_raw(self.text))
            return []
        return self._raw() if self.configuration.get("use_raw_sql") else self._materialised()

    def _rendered(self, text: str) -> str:
        tables = {f"df_{n}": self._table(n, uuid) for n, uuid in enumerate(self.inputs, start=1) if _mentions(text, n)}
        names = {**self.kwargs, **tables}
        return render(text, environ=os.environ, variables=self.kwargs, names=names)

    def _table(self, number: int, uuid: str) -> str:
        outputs = self.inputs[uuid]
        name = _table_name(str(self.kwargs["pipeline_uuid"]), uuid)
        if outputs and isinstance(outputs[0], pd.DataFrame):
            self.database.export(outputs[0], self.schema, name, if_exists="replace", verbose=False)
        return f"{quoted(self.schema)}.{quoted(name)}"

    def _raw(self) -> list[Any]:
        """Every statement in one transaction; the rows of the last one that gives any are the output."""
        found: list[Any] = []
        for number, statement in enumerate(split_statements(self.text), start=1):
            frame = self._tried(statement, number, lambda one=statement: self._fetched(one))
            found = [frame.head(self.limit)] if frame is not None else found
        self.database.commit()
        return found

    def _fetched(self, statement: Statement) -> pd.DataFrame | None:
        self.database.execute("SELECT 1")  # opens the transaction that the statement belongs to
        frame = self.database.load(statement.text)
        return frame if len(frame.columns) else None

    def _materialised(self) -> list[Any]:
        name = str(self.configuration.get("data_provider_table") or "") or _table_name(
            str(self.kwargs["pipeline_uuid"]), str(self.kwargs["block_uuid"])
        )
        target = f"{quoted(self.schema)}.{quoted(name)}"
        statements = split_statements(self.text)
        query = statements[-1].text if statements else ""
        policy = str(self.configuration.get("export_write_policy") or "append")
        exists = self.database.table_exists(self.schema, name)
        if exists and policy == "fail":
            raise TableExists(f"The table {self.schema}.{name} is there.", remedy="Use another export_write_policy.")
        self.database.execute(f"CREATE SCHEMA IF NOT EXISTS {quoted(self.schema)}")
        if exists and policy == "replace":
            self.database.execute(f"DROP TABLE {target}")
        verb = f"INSERT INTO {target}" if exists and policy == "append" else f"CREATE TABLE {target} AS"
        for number, statement in enumerate(statements[:-1], start=1):
            self._tried(statement, number, lambda one=statement: self.database.execute(one.text))
        if statements:
            last = statements[-1]
            self._tried(last, len(statements), lambda: self.database.execute(f"{verb} {query}"))
        self.database.commit()
        return [self.database.load(f"SELECT * FROM {target} LIMIT {self.limit}")]  # noqa: S608 - quoted

    def _tried(self, statement: Statement, number: int, work: Any) -> Any:
        try:
            return work()
        except asyncpg.PostgresError as error:
            raise StatementFailed(
                f"Statement {number} (line {statement.line}) failed: {error}",
                remedy=error.hint or "Nothing of this block was kept.",
            ) from error


def _mentions(text: str, number: int) -> bool:
    return re.search(rf"\bdf_{number}\b", text) is not None


def _table_name(pipeline: str, block: str) -> str:
    return re.sub(r"\W+", "_", f"{pipeline}_{block}_v1").lower()
