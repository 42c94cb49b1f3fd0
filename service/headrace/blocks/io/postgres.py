"""Postgres for blocks: frames in by binary COPY, frames out with their types kept."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from typing import Any, TypeVar
from uuid import uuid4

import asyncpg
import pandas as pd
import pgpq
import pyarrow as pa

from headrace.blocks.io.columns import BY_TEXT, column_names, quoted, storable_table
from headrace.blocks.io.config import ConfigKey, ConfigLoader
from headrace.domain.errors import HeadraceError

T = TypeVar("T")
BATCH_ROWS = 32_768


class ConnectionFailed(HeadraceError):
    """A database cannot be reached, or refused the login."""

    code = "connection-failed"


class NotConnected(HeadraceError):
    """A connector was used before it was opened, or after it was closed."""

    code = "not-connected"


class TableExists(HeadraceError):
    """An export with if_exists='fail' found its table there."""

    code = "table-exists"


class TableMismatch(HeadraceError):
    """A frame has columns that the table to append to has not."""

    code = "table-mismatch"


class Postgres:
    """A connection to one Postgres database, to be used as a context manager by synchronous code.

    `export` commits by itself and is all or nothing; `execute` waits for `commit`.
    """

    def __init__(self, verbose: bool = True, **settings: Any) -> None:
        self.settings = {key: value for key, value in settings.items() if value is not None}
        self.schema = str(self.settings.pop("schema", None) or "public")
        self.verbose = verbose
        self._connection: Any = None
        self._transaction: Any = None
        self._loop: _Loop | None = None

    @classmethod
    def with_config(cls, config: ConfigLoader, **options: Any) -> Postgres:
        """A connector with the POSTGRES_* settings of a profile."""
        port, timeout = config.get(ConfigKey.POSTGRES_PORT), config.get(ConfigKey.POSTGRES_CONNECT_TIMEOUT)
        return cls(
            database=config.get(ConfigKey.POSTGRES_DBNAME),
            user=config.get(ConfigKey.POSTGRES_USER),
            password=_text(config.get(ConfigKey.POSTGRES_PASSWORD)),
            host=config.get(ConfigKey.POSTGRES_HOST),
            port=None if port is None else int(port),
            schema=config.get(ConfigKey.POSTGRES_SCHEMA),
            timeout=None if timeout is None else float(timeout),
            **options,
        )

    def __enter__(self) -> Postgres:
        self.open()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def conn(self) -> Any:
        """The asyncpg connection. Raises NotConnected."""
        if self._connection is None:
            raise NotConnected("There is no open connection.", remedy="Use the connector in a `with` statement.")
        return self._connection

    def default_schema(self) -> str:
        """The schema that is meant where none is named."""
        return self.schema

    def open(self) -> None:
        """Connect. Raises ConnectionFailed with host, port, database and user, never the password."""
        self._say("Postgres initialized\n└─ Opening connection to PostgreSQL database...")
        self._loop = _Loop()
        try:
            self._connection = self._wait(self._connected())
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError) as error:
            self._loop.close()
            where = ", ".join(f"{key} {self.settings.get(key)}" for key in ("host", "port", "database", "user"))
            raise ConnectionFailed(
                f"Postgres cannot be reached at {where}: {error}", remedy="Check the profile in io_config.yaml."
            ) from error
        self._say("DONE\n")

    async def _connected(self) -> Any:
        settings = {"timeout": 10.0, **self.settings}
        return await asyncpg.connect(**settings, server_settings={"application_name": "headrace-block"})

    def close(self) -> None:
        """Close the connection; what was not committed is undone."""
        if self._loop is None:
            return
        connection, self._connection, self._transaction = self._connection, None, None
        try:
            if connection is not None:
                self._wait(connection.close(timeout=5))
        finally:
            self._loop.close()
            self._loop = None

    def load(self, query_string: str, limit: int | None = None, *_: Any, **__: Any) -> pd.DataFrame:
        """A query's rows as a frame, `limit` of them at most. Integers with nulls are Int64, numeric is float64."""
        frame = self._wait(self._fetched(query_string.rstrip().rstrip(";")))
        return frame if limit is None else frame.head(limit)

    async def _fetched(self, query: str, *arguments: Any) -> pd.DataFrame:
        statement = await self.conn.prepare(query)
        return frame_of(await statement.fetch(*arguments), statement.get_attributes())

    def sample(self, schema: str, table: str, size: int = 1000, **_: Any) -> pd.DataFrame:
        """Some rows of a table."""
        return self.load(f"SELECT * FROM {quoted(schema)}.{quoted(table)} LIMIT {int(size)}")  # noqa: S608 - quoted

    def execute(self, query_string: str, **_: Any) -> None:
        """Run SQL inside the open transaction; `commit` makes it last."""
        self._wait(self._in_transaction(query_string))

    async def _in_transaction(self, query: str) -> None:
        if self._transaction is None:
            self._transaction = self.conn.transaction()
            await self._transaction.start()
        await self.conn.execute(query)

    def execute_query_raw(self, query: str, **_: Any) -> None:
        """Run SQL as it is and commit it."""
        self.execute(query)
        self.commit()

    def execute_queries(
        self, queries: Sequence[str], query_variables: Any = None, commit: bool = False,
        fetch_query_at_indexes: Sequence[bool] | None = None, **_: Any,
    ) -> list[Any]:  # fmt: skip
        """Run several statements in one transaction; frames for those whose flag is set, None for the others."""
        flags = list(fetch_query_at_indexes or [False] * len(queries))
        results: list[Any] = []
        for query, fetch in zip(queries, flags, strict=True):
            if fetch:
                results.append(self._wait(self._fetched(query)))
            else:
                self.execute(query)
                results.append(None)
        if commit:
            self.commit()
        return results

    def commit(self) -> None:
        """Make what was executed last."""
        if self._transaction is not None:
            transaction, self._transaction = self._transaction, None
            self._wait(transaction.commit())

    def rollback(self) -> None:
        """Undo what was executed since the last commit."""
        if self._transaction is not None:
            transaction, self._transaction = self._transaction, None
            self._wait(transaction.rollback())

    def table_exists(self, schema_name: str, table_name: str) -> bool:
        """Whether a table or view of this name is there."""
        return bool(self._wait(self.conn.fetchval(_EXISTS, schema_name, table_name)))

    def export(
        self,
        df: pd.DataFrame | Mapping[str, Any] | Sequence[Any] | None = None,
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
        overwrite_types: Mapping[str, str] | None = None,
        query_string: str | None = None,
        unique_constraints: Sequence[str] | None = None,
        unique_conflict_method: str | None = None,
        **_: Any,
    ) -> None:
        """Write a frame (or the rows of `query_string`) to a table, in one transaction.

        `replace` builds the new table beside the old one and swaps them at the end: readers see the old rows until the
        commit. `append` matches columns by name. `unique_constraints` turns writing into an upsert: conflicting rows
        are updated (`unique_conflict_method='UPDATE'`) or left as they are. Raises ValueNotStorable naming column and
        row, TableExists, TableMismatch, ColumnNamesClash.
        """
        if table_name is None:
            raise ValueError("export needs a table_name")
        schema = schema_name or self.schema
        if query_string is not None:
            frame = self.load(query_string)
        else:
            frame = df if isinstance(df, pd.DataFrame) else pd.DataFrame(df)
        frame = frame.reset_index() if index else frame
        names = column_names(
            list(frame.columns), clean=auto_clean_name, keep_case=case_sensitive, allow_reserved=allow_reserved_words
        )
        table, types = storable_table(frame, names)
        types |= {name: sql for name, sql in (overwrite_types or {}).items() if name in types}
        job = _Export(
            self.conn, schema, table_name, table, types, if_exists, cascade_on_drop,
            tuple(unique_constraints or ()), (unique_conflict_method or "").upper() == "UPDATE",
        )  # fmt: skip
        self.commit()
        if verbose:
            self._say(f"├─ Exporting data to {schema}.{table_name}...")
        self._wait(job.run())
        if verbose:
            self._say("DONE\n")

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        if self._loop is None:
            work.close()
            raise NotConnected("There is no open connection.", remedy="Use the connector in a `with` statement.")
        return self._loop.wait(work)

    def _say(self, text: str) -> None:
        if self.verbose:
            sys.stdout.write(text)


_EXISTS = "SELECT to_regclass(format('%I.%I', $1::text, $2::text)) IS NOT NULL"


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


class _Loop:
    """An event loop in a thread of its own, so that synchronous code can wait on it even inside another loop."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="headrace-postgres", daemon=True)
        self._thread.start()

    def wait(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


class _Export:
    """One export: the frame goes into a table beside the target, and from there to its place."""

    def __init__(
        self, connection: Any, schema: str, name: str, table: pa.Table, types: Mapping[str, str], if_exists: str,
        cascade: bool, unique: tuple[str, ...], update: bool,
    ) -> None:  # fmt: skip
        self.connection = connection
        self.schema, self.name = schema, name
        self.table, self.types = table, types
        self.if_exists, self.cascade = if_exists, cascade
        self.unique, self.update = unique, update

    @property
    def target(self) -> str:
        return f"{quoted(self.schema)}.{quoted(self.name)}"

    async def run(self) -> None:
        async with self.connection.transaction():
            if not await self.connection.fetchval("SELECT to_regnamespace(quote_ident($1)) IS NOT NULL", self.schema):
                await self.connection.execute(f"CREATE SCHEMA IF NOT EXISTS {quoted(self.schema)}")
            exists = await self.connection.fetchval(_EXISTS, self.schema, self.name)
            if exists and self.if_exists == "fail" and not self.unique:
                raise TableExists(f"The table {self.schema}.{self.name} is there.", remedy="Use replace or append.")
            if self.unique:
                await self._upsert(exists)
            elif exists and self.if_exists == "append":
                await self._append()
            else:
                await self._replace(exists)

    async def _replace(self, exists: bool) -> None:
        beside = f"headrace_{uuid4().hex[:20]}"
        await self._fill(f"{quoted(self.schema)}.{quoted(beside)}", beside, self.schema)
        if exists:
            await self.connection.execute(f"DROP TABLE {self.target}{' CASCADE' if self.cascade else ''}")
        await self.connection.execute(
            f"ALTER TABLE {quoted(self.schema)}.{quoted(beside)} RENAME TO {quoted(self.name)}"
        )

    async def _fill(self, target: str, name: str, schema: str | None, temporary: bool = False) -> None:
        """Create a table with the frame's columns and copy the frame into it; what travels as text is cast then."""
        columns = ", ".join(f"{quoted(n)} {'text' if t in BY_TEXT else t}" for n, t in self._arriving())
        kind = "TEMPORARY TABLE" if temporary else "TABLE"
        after = " ON COMMIT DROP" if temporary else ""
        await self.connection.execute(f"CREATE {kind} {target} ({columns}){after}")
        await self.connection.copy_to_table(name, schema_name=schema, source=self._encoded(), format="binary")
        casts = [
            f"ALTER COLUMN {quoted(n)} TYPE {t} USING {quoted(n)}::{t}"
            for n, t in self.types.items()
            if (n, t) not in self._arriving() or t in BY_TEXT
        ]
        if casts:
            await self.connection.execute(f"ALTER TABLE {target} {', '.join(casts)}")

    def _arriving(self) -> list[tuple[str, str]]:
        """Each column with the SQL type in which its values arrive."""
        return [(name, self.types[name] if self._natural(name) else "text") for name in self.types]

    def _natural(self, name: str) -> bool:
        return self.types[name] in BY_TEXT or self.types[name] in _NATURAL[self.table.schema.field(name).type.id]

    async def _encoded(self) -> AsyncIterator[bytes]:
        encoder = pgpq.ArrowToPostgresBinaryEncoder(self.table.schema)
        yield bytes(encoder.write_header())
        for batch in self.table.to_batches(max_chunksize=BATCH_ROWS):
            yield bytes(encoder.write_batch(batch))
        yield bytes(encoder.finish())

    async def _append(self) -> None:
        await self._check_columns()
        await self._fill('"headrace_arrived"', "headrace_arrived", None, temporary=True)
        await self.connection.execute(self._insert())

    async def _check_columns(self) -> None:
        rows = await self.connection.fetch(
            "SELECT column_name FROM information_schema.columns WHERE table_schema = $1 AND table_name = $2",
            self.schema, self.name,
        )  # fmt: skip
        known = {row["column_name"] for row in rows}
        missing = [name for name in self.types if name not in known]
        if missing:
            raise TableMismatch(
                f"The table {self.schema}.{self.name} has no column {', '.join(missing)}.",
                remedy="Add the column to the table, or drop it from the frame.",
            )

    def _insert(self) -> str:
        names = ", ".join(quoted(name) for name in self.types)
        return f"INSERT INTO {self.target} ({names}) SELECT {names} FROM headrace_arrived"  # noqa: S608 - quoted

    async def _upsert(self, exists: bool) -> None:
        unique = column_names(self.unique, clean=True, keep_case=False, allow_reserved=False)
        keys = ", ".join(quoted(name) for name in unique)
        if not exists:
            columns = ", ".join(f"{quoted(n)} {t}" for n, t in self.types.items())
            await self.connection.execute(f"CREATE TABLE {self.target} ({columns}, UNIQUE ({keys}))")
        await self._check_columns()
        await self._fill('"headrace_arrived"', "headrace_arrived", None, temporary=True)
        others = [name for name in self.types if name not in unique]
        updates = ", ".join(f"{quoted(n)} = excluded.{quoted(n)}" for n in others)
        action = f"DO UPDATE SET {updates}" if self.update and others else "DO NOTHING"
        await self.connection.execute(f"{self._insert()} ON CONFLICT ({keys}) {action}")


_NATURAL: dict[int, tuple[str, ...]] = {
    pa.bool_().id: ("boolean",),
    pa.int16().id: ("smallint",),
    pa.int32().id: ("integer",),
    pa.int64().id: ("bigint",),
    pa.float32().id: ("real",),
    pa.float64().id: ("double precision",),
    pa.string().id: ("text",),
    pa.large_string().id: ("text",),
    pa.date32().id: ("date",),
    pa.timestamp("us").id: ("timestamp", "timestamptz"),
    pa.duration("us").id: ("interval",),
    pa.binary().id: ("bytea",),
}
"""Arrow type to the SQL types in whose binary form its values travel."""


def frame_of(rows: Sequence[Any], attributes: Sequence[Any]) -> pd.DataFrame:
    """Rows of a query as a frame whose columns have the query's types, empty ones too."""
    columns = list(zip(*rows, strict=True)) if rows else [()] * len(attributes)
    made = {
        position: _SERIES.get(attribute.type.name, _as_objects)(list(values))
        for position, (attribute, values) in enumerate(zip(attributes, columns, strict=True))
    }
    frame = pd.DataFrame(made)
    frame.columns = pd.Index([attribute.name for attribute in attributes])
    return frame


def _as_objects(values: list[Any]) -> pd.Series[Any]:
    return pd.Series(values, dtype=object)


def _integers(values: list[Any]) -> pd.Series[Any]:
    return pd.Series(values, dtype="Int64" if None in values else "int64")


def _floats(values: list[Any]) -> pd.Series[Any]:
    return pd.Series([None if value is None else float(value) for value in values], dtype="float64")


def _booleans(values: list[Any]) -> pd.Series[Any]:
    return pd.Series(values, dtype="boolean" if None in values else "bool")


def _strings(values: list[Any]) -> pd.Series[Any]:
    return pd.Series(values, dtype="str")


def _times(values: list[Any]) -> pd.Series[Any]:
    return pd.Series(values, dtype="datetime64[us]")


def _zoned_times(values: list[Any]) -> pd.Series[Any]:
    return pd.Series(values, dtype="datetime64[us, UTC]")


_SERIES: dict[str, Callable[[list[Any]], pd.Series[Any]]] = {
    **dict.fromkeys(("int2", "int4", "int8"), _integers),
    **dict.fromkeys(("float4", "float8", "numeric"), _floats),
    **dict.fromkeys(("text", "varchar", "bpchar", "name"), _strings),
    "bool": _booleans,
    "timestamp": _times,
    "timestamptz": _zoned_times,
}
