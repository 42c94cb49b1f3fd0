"""Postgres for blocks: synchronous, with Mage's methods.

Statements run in one transaction until `commit()`. `export` commits. What is not committed when the connection closes
is undone, and the block's log says so.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine, Mapping, Sequence
from functools import partial
from types import TracebackType
from typing import Any, TypeVar

import asyncpg
import pandas as pd

from headrace.blocks.io.base import ConnectorFault, ExportWritePolicy, Told
from headrace.blocks.io.connecting import Address, address_from, connect
from headrace.blocks.io.copy import columns_of
from headrace.blocks.io.cursor import Cursor
from headrace.blocks.io.export import Target, export_frame, export_query
from headrace.blocks.io.literals import Variables, filled
from headrace.blocks.io.load import load_frame
from headrace.blocks.io.names import clean_name, folded, quoted
from headrace.blocks.io.own_loop import OwnLoop
from headrace.blocks.statements import split_statements

T = TypeVar("T")

_log = logging.getLogger("headrace.block")

MOST_ROWS = 10_000_000


class QueryFault(ConnectorFault):
    """Postgres refused a statement."""

    code = "query-failed"


class Postgres:
    """A connection to one database, opened by `with` or `open()`."""

    def __init__(
        self,
        dbname: str | None = None,
        user: str | None = None,
        password: str | None = None,
        host: str | None = None,
        port: int | str | None = None,
        schema: str | None = None,
        *,
        verbose: bool = True,
        **settings: Any,
    ) -> None:
        given = {"DBNAME": dbname, "USER": user, "PASSWORD": password, "HOST": host, "PORT": port, "SCHEMA": schema}
        more = {name.upper(): value for name, value in settings.items()}
        self.address: Address = address_from(_Given({f"POSTGRES_{k}": v for k, v in {**more, **given}.items()}))
        self._told = Told(type(self).__name__, verbose)
        self._loop: OwnLoop | None = None
        self._connection: Any = None
        self._in_transaction = False
        self._uncommitted = False

    @classmethod
    def with_config(cls, config: Any, **options: Any) -> Postgres:
        """The database that a loader's settings name."""
        address = address_from(config)
        return cls(
            address.database, address.user, address.password, address.host, address.port, address.schema,
            connect_timeout=address.timeout, **options,
        )  # fmt: skip

    def default_schema(self) -> str:
        """The schema of tables that are named without one."""
        return self.address.schema

    def open(self) -> None:
        """Connect. Raises ConnectionRefused at once if that fails."""
        if self._connection is not None:
            return
        with self._told.step("Opening connection to PostgreSQL database"):
            loop = OwnLoop()
            try:
                self._connection = loop.run(connect(self.address, {}))
            except BaseException:
                loop.close()
                raise
            self._loop = loop

    def close(self) -> None:
        """Disconnect; what was not committed is rolled back."""
        loop, connection = self._loop, self._connection
        self._loop = self._connection = None
        self._in_transaction = self._uncommitted = False
        if loop is None:
            return
        try:
            loop.run(_closed(connection))
        finally:
            loop.close()

    def __enter__(self) -> Postgres:
        self.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None and self._uncommitted:
            _log.warning("What was executed on %s was not committed and is undone: call commit() first.", self.address)
        self.close()

    @property
    def conn(self) -> Any:
        """The connection itself: this object, whose methods are synchronous. Raises ConnectorFault when not open."""
        self._open_loop()
        return self

    def commit(self) -> None:
        """Make what was done since the last commit last."""
        self._end("COMMIT")

    def rollback(self) -> None:
        """Undo what was done since the last commit."""
        self._end("ROLLBACK")

    def load(
        self,
        query_string: str,
        limit: int | None = MOST_ROWS,
        display_query: str | None = None,
        verbose: bool = True,
        *,
        params: Variables | None = None,
        exact: bool = False,
        **_: Any,
    ) -> pd.DataFrame:
        """The rows of a query, at most `limit`; see `headrace.blocks.io.load` for the types of columns.

        `params` fill `%s` or `%(name)s` in the query.
        """
        query = filled(query_string, params or ())
        most = MOST_ROWS if limit is None else int(limit)
        with self._told.step(f"Loading data\n\n{display_query or query_string}\n\n", verbose):
            return self._in_one(lambda connection: load_frame(connection, query, most, exact))

    def sample(
        self, schema: str, table: str, size: int = 100_000, *, case_sensitive: bool = False, **_: Any
    ) -> pd.DataFrame:
        """At most `size` rows of a table."""
        place = _place(schema, table, case_sensitive)
        return self.load(f"SELECT * FROM {place}", limit=size, verbose=False)  # noqa: S608 - quoted

    def execute(self, query_string: str, **query_vars: Any) -> None:
        """Run statements in the transaction at hand; `%(name)s` in them takes the variable `name`."""
        query = filled(query_string, _variables(query_vars))
        with self._told.step(f"Executing query '{query_string}'"):
            self._change(lambda connection: connection.execute(query))

    def execute_queries(
        self,
        queries: Sequence[str],
        query_variables: Sequence[Mapping[str, Any]] | None = None,
        commit: bool = False,
        fetch_query_at_indexes: Sequence[int | bool] | None = None,
        **_: Any,
    ) -> list[pd.DataFrame | None]:
        """Run statements one after another; the frames of those at the asked indexes, None for the others."""
        variables = query_variables or [{}] * len(queries)
        wanted = _wanted(fetch_query_at_indexes or ())
        results: list[pd.DataFrame | None] = []
        for place, (query, values) in enumerate(zip(queries, variables, strict=True)):
            text = filled(query, _variables(values))
            if place in wanted:
                results.append(self.rows_of(text))
                continue
            self._change(partial(_executed, query=text))
            results.append(None)
        if commit:
            self.commit()
        return results

    def execute_query_raw(self, query: str, **_: Any) -> None:
        """Run a whole text as it is; outside of a transaction, unless one has begun."""
        self._run(lambda connection: connection.execute(query))

    def fetched(self, query: str, variables: Variables = ()) -> tuple[list[str], list[tuple[Any, ...]], str]:
        """Run statements; of the last one the names of columns, the rows, and what Postgres says of it."""
        statements = split_statements(filled(query, variables))
        *before, last = [statement.text for statement in statements] or [""]
        return self._change(lambda connection: _fetched(connection, before, last))

    def cursor(self) -> Cursor:
        """A cursor of Python's database interface, on the transaction at hand."""
        return Cursor(self)

    def rows_of(self, statement: str, limit: int = MOST_ROWS) -> pd.DataFrame | None:
        """Run one statement of any sort in the transaction at hand; its rows, or None where it gives none."""
        return self._change(lambda connection: _rows(connection, statement, limit))

    def table_exists(self, schema_name: str | None, table_name: str, *, case_sensitive: bool = False) -> bool:
        """Whether there is a table or view of that name."""
        return self.has_relation(_place(schema_name or self.default_schema(), table_name, case_sensitive))

    def has_relation(self, name: str) -> bool:
        """Whether there is a table or view of a name as SQL writes it, quotes and all."""
        query = "SELECT to_regclass($1) IS NOT NULL"
        return bool(self._run(lambda connection: connection.fetchval(query, name)))

    def export(
        self,
        df: Any = None,
        schema_name: str | None = None,
        table_name: str | None = None,
        if_exists: str = "replace",
        index: bool = False,
        verbose: bool = True,
        *,
        allow_reserved_words: bool = False,
        auto_clean_name: bool = True,
        case_sensitive: bool = False,
        cascade_on_drop: bool = False,
        drop_table_on_replace: bool = True,
        overwrite_types: Mapping[str, str] | None = None,
        query_string: str | None = None,
        unique_conflict_method: str | None = None,
        unique_constraints: Sequence[str] | None = None,
        **_: Any,
    ) -> None:
        """Write a frame, or what a query gives, into a table, and commit. Schema and table are made where they lack.

        `if_exists`: replace (a new table, which readers see from the commit on), append or fail. Columns go by name.
        With `unique_constraints` rows that are there already are updated (`unique_conflict_method='UPDATE'`) or left.
        Raises UnstorableValue with column and row, TableFault, and ConnectorFault.
        """
        names = _Naming(auto_clean_name, case_sensitive, allow_reserved_words)
        if not table_name:
            raise ConnectorFault("export needs a table_name.")
        target = Target(
            schema=_cased(schema_name or self.default_schema(), case_sensitive),
            table=_cased(table_name, case_sensitive),
            policy=_policy(if_exists),
            cascade=cascade_on_drop,
            unique=tuple(names.clean(name) for name in unique_constraints or ()),
            update=str(unique_conflict_method).upper() == "UPDATE",
            types={str(name): kind for name, kind in (overwrite_types or {}).items()},
        )
        with self._told.step(f"Exporting data to table '{target}'", verbose):
            self._export(df, target, names, index=index, query=query_string)
        self.commit()

    def upsert(
        self, df: Any, schema_name: str | None, table_name: str, unique_constraints: Sequence[str], **options: Any
    ) -> None:
        """Add a frame's rows to a table, and update those that are there already under `unique_constraints`."""
        more = {"if_exists": ExportWritePolicy.APPEND, "unique_conflict_method": "UPDATE", **options}
        self.export(df, schema_name, table_name, unique_constraints=unique_constraints, **more)

    def _export(self, df: Any, target: Target, names: _Naming, *, index: bool, query: str | None) -> None:
        if query is not None:
            text = query.strip().rstrip(";")
            self._atomically(lambda connection: export_query(connection, text, target))
            return
        frame = _frame(df, index=index)
        columns = columns_of(
            frame,
            clean=names.auto_clean,
            case_sensitive=names.case_sensitive,
            allow_reserved=names.allow_reserved,
            overwrite=target.types,
        )
        self._atomically(lambda connection: export_frame(connection, frame, columns, target))

    def _atomically(self, work: Callable[[Any], Coroutine[Any, Any, T]]) -> T:
        """In the transaction at hand; a failure undoes all of it."""
        try:
            return self._in_one(work)
        except BaseException:
            self.rollback()
            raise

    def _in_one(self, work: Callable[[Any], Coroutine[Any, Any, T]]) -> T:
        """Within a transaction, begun now if there is none."""
        if not self._in_transaction:
            self._run(lambda connection: connection.execute("BEGIN"))
            self._in_transaction = True
        return self._run(work)

    def _change(self, work: Callable[[Any], Coroutine[Any, Any, T]]) -> T:
        """Within a transaction that has to be committed."""
        self._uncommitted = True
        return self._in_one(work)

    def _end(self, statement: str) -> None:
        self._uncommitted = False
        if self._in_transaction:
            self._in_transaction = False
            self._run(lambda connection: connection.execute(statement))

    def _run(self, work: Callable[[Any], Coroutine[Any, Any, T]]) -> T:
        loop = self._open_loop()
        try:
            return loop.run(work(self._connection))
        except (asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            raise query_fault(error) from error

    def _open_loop(self) -> OwnLoop:
        if self._loop is None:
            raise ConnectorFault(
                f"There is no open connection to {self.address}.",
                remedy="Write `with Postgres.with_config(...) as loader:`, or call open() first.",
            )
        return self._loop


class _Given:
    """Settings given as arguments, read like a profile's."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = values

    def get(self, key: str) -> Any:
        return self._values.get(str(key))

    def __str__(self) -> str:
        return "Postgres(...)"


class _Naming:
    """How an export turns labels into names."""

    def __init__(self, auto_clean: bool, case_sensitive: bool, allow_reserved: bool) -> None:
        self.auto_clean = auto_clean
        self.case_sensitive = case_sensitive
        self.allow_reserved = allow_reserved

    def clean(self, name: str) -> str:
        if not self.auto_clean:
            return name
        return clean_name(name, case_sensitive=self.case_sensitive, allow_reserved=self.allow_reserved)


def _cased(name: str, case_sensitive: bool) -> str:
    return name if case_sensitive else folded(name)


def _place(schema: str, table: str, case_sensitive: bool) -> str:
    return quoted(_cased(schema, case_sensitive), _cased(table, case_sensitive))


def query_fault(error: Exception) -> QueryFault:
    """What Postgres said, with its detail and hint."""
    parts = [str(error).rstrip("."), getattr(error, "detail", None), getattr(error, "hint", None)]
    return QueryFault("Postgres: " + ". ".join(dict.fromkeys(part.rstrip(".") for part in parts if part)) + ".")


def _variables(given: Mapping[str, Any]) -> Variables:
    """Variables by their names; or, as psycopg takes them, all of them as one value called `vars`."""
    if given.keys() != {"vars"}:
        return given
    variables: Variables = given["vars"] or ()
    return variables


def _wanted(fetch: Sequence[int | bool]) -> set[int]:
    """Mage takes indexes, or one boolean for each query."""
    if all(isinstance(item, bool) for item in fetch):
        return {place for place, item in enumerate(fetch) if item}
    return {int(item) for item in fetch}


def _policy(name: str) -> ExportWritePolicy:
    try:
        return ExportWritePolicy(str(name).lower())
    except ValueError:
        known = ", ".join(ExportWritePolicy)
        raise ConnectorFault(f"if_exists is {name!r}.", remedy=f"It is one of: {known}.") from None


def _frame(value: Any, *, index: bool) -> pd.DataFrame:
    if isinstance(value, pd.Series):
        value = value.to_frame()
    elif isinstance(value, dict):
        value = pd.DataFrame(value if _has_columns(value) else [value])
    elif isinstance(value, list):
        value = pd.DataFrame(value)
    elif not isinstance(value, pd.DataFrame) and hasattr(value, "to_pandas"):
        value = value.to_pandas()
    if not isinstance(value, pd.DataFrame):
        raise ConnectorFault(f"export takes a DataFrame, a dict or a list, not a {type(value).__name__}.")
    return value.reset_index() if index else value


def _has_columns(value: Mapping[str, Any]) -> bool:
    return any(isinstance(item, list | tuple | pd.Series) for item in value.values())


async def _executed(connection: Any, query: str) -> None:
    await connection.execute(query)


async def _fetched(connection: Any, before: Sequence[str], last: str) -> tuple[list[str], list[tuple[Any, ...]], str]:
    for statement in before:
        await connection.execute(statement)
    prepared = await connection.prepare(last)
    rows = await prepared.fetch()
    return (
        [attribute.name for attribute in prepared.get_attributes()],
        [tuple(row) for row in rows],
        str(prepared.get_statusmsg()),
    )


async def _closed(connection: Any) -> None:
    try:
        await connection.close(timeout=5)
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
        connection.terminate()


async def _rows(connection: Any, statement: str, limit: int) -> pd.DataFrame | None:
    prepared = await connection.prepare(statement)
    if prepared.get_attributes():
        return await load_frame(connection, statement, limit, False)
    await connection.execute(statement)
    return None
