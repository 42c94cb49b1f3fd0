"""Headrace's database: where it is, its pool of connections, and transactions that leave no connection dirty."""

from __future__ import annotations

import asyncio
import json
import os
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, TypeVar

import anyio
import asyncpg

from headrace.store import migrations
from headrace.store.binaries import SUPPORTED_MAJORS
from headrace.store.embedded import Attachment, place_of
from headrace.store.errors import (
    DATABASE_AWAY,
    UNFIT_SCHEMA,
    DatabaseBusy,
    DatabaseUnavailable,
    InvalidAddress,
    SchemaTooNew,
    UnsupportedPostgres,
)
from headrace.store.holding import held_server
from headrace.store.wake import Waker

URL_SETTING = "HEADRACE_DATABASE_URL"
ACQUIRE_SECONDS = 30.0
CONNECT_SECONDS = 30.0
STATEMENT_SECONDS = 120.0
"""No statement outside of migrations takes longer; a server that went silent shows as an error."""
COMMIT_SECONDS = 60.0
ROLLBACK_SECONDS = 5.0
RELEASE_SECONDS = 5.0
_SESSION = {"application_name": "headrace", "timezone": "UTC", "lock_timeout": "20s"}
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class DatabaseAddress:
    """Where the database is. `dsn` is what psql takes; `folder` is the embedded server's data."""

    dsn: str
    kind: str
    folder: Path | None
    version: str


class Database:
    """A pool of connections to Headrace's database."""

    def __init__(
        self,
        address: DatabaseAddress,
        pool: asyncpg.Pool[Any],
        attachment: Attachment | None = None,
        waker: Waker | None = None,
    ) -> None:
        self.address = address
        self.pool = pool
        self.attachment = attachment
        self.waker = waker or Waker(self)
        self.streams = anyio.CapacityLimiter(max(pool.get_max_size() // 2, 1))
        """How many blobs are written at once: each holds a connection, and others need some too."""

    @asynccontextmanager
    async def beside(self, size: int) -> AsyncIterator[Database]:
        """The same database through a pool of its own, for work that must not queue behind that of others."""
        pool = await _pool(self.address.dsn, size)
        try:
            yield Database(self.address, pool, self.attachment, self.waker)
        finally:
            await _close(pool)

    async def migrate(self) -> list[str]:
        """Bring the database up to date, however long that takes; the names of the migrations that were applied."""
        async with _unhurried(self.address.dsn) as connection:
            return await migrations.migrate(connection)

    @asynccontextmanager
    async def reserved(self, *, answer_within: float = STATEMENT_SECONDS) -> AsyncIterator[Any]:
        """A connection outside of the pool; each answer, the first included, is waited for `answer_within` seconds.

        It is cut, without a word to the server, when its user raises: it may be the connection that is at fault.
        """
        connection = await asyncpg.connect(
            self.address.dsn, timeout=answer_within, command_timeout=answer_within, server_settings=_SESSION
        )
        try:
            await _prepare(connection)
            yield connection
        except BaseException:
            connection.terminate()
            raise
        with anyio.CancelScope(shield=True):
            await connection.close(timeout=RELEASE_SECONDS)

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Any]:
        """A connection of the pool, which makes a new one in place of one that was lost.

        Raises DatabaseBusy when none is free in time; while the server is away, OSError or asyncpg's errors (those
        that `retrying` takes up again).
        """
        try:
            connection = await self.pool.acquire(timeout=ACQUIRE_SECONDS)
        except TimeoutError as error:
            raise DatabaseBusy(
                f"No connection to the database was free within {ACQUIRE_SECONDS:.0f} s.", remedy="Try again."
            ) from error
        try:
            yield connection
        finally:
            await _seen_through(self._release(connection), _leave_it, seconds=2 * RELEASE_SECONDS)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Any]:
        """A connection inside a transaction, which is over when this returns or raises, also when cancelled.

        A cancel during the commit does not undo it: CancelledError then comes after the commit. A second cancel gives
        the connection up.
        """
        async with self.connection() as connection:
            transaction = connection.transaction()
            await transaction.start()
            try:
                yield connection
            except BaseException as error:
                await _roll_back(connection, transaction, cancelled=isinstance(error, asyncio.CancelledError))
                raise
            await _seen_through(transaction.commit(), connection.terminate, seconds=COMMIT_SECONDS)

    async def _release(self, connection: Any) -> None:
        """Give a connection back; one that does not answer is ended by the pool, and what was done over it stands."""
        with suppress(asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError):
            await self.pool.release(connection, timeout=RELEASE_SECONDS)

    async def fetch(self, sql: str, *arguments: Any) -> list[Any]:
        """Every row of a query."""
        async with self.connection() as connection:
            return list(await connection.fetch(sql, *arguments))

    async def fetchrow(self, sql: str, *arguments: Any) -> Any:
        """The first row of a query, or None."""
        async with self.connection() as connection:
            return await connection.fetchrow(sql, *arguments)

    async def fetchval(self, sql: str, *arguments: Any) -> Any:
        """The first value of the first row, or None."""
        async with self.connection() as connection:
            return await connection.fetchval(sql, *arguments)

    async def execute(self, sql: str, *arguments: Any) -> None:
        """Run one statement."""
        async with self.connection() as connection:
            await connection.execute(sql, *arguments)

    async def as_schema_fault(self, error: BaseException) -> BaseException:
        """What a statement raised, or SchemaTooNew where a newer version's migrations explain that it was refused."""
        if not isinstance(error, UNFIT_SCHEMA):
            return error
        try:
            async with self.connection() as connection:
                newer = await migrations.newer_migrations(connection)
        except SchemaTooNew as told:
            return told
        if not newer:
            return error
        return SchemaTooNew(
            f"A newer Headrace applied {', '.join(newer)} to this database, which this one does not know in this form: "
            f"{error}.",
            remedy="Upgrade this Headrace, or give it a database of its own.",
        )

    async def retrying(self, work: Callable[[], Awaitable[T]], *, attempts: int = 8) -> T:
        """Do idempotent work, again after what DATABASE_AWAY lists: a deadlock, a lost connection."""
        for attempt in range(1, attempts + 1):
            try:
                return await work()
            except DATABASE_AWAY:
                if attempt == attempts:
                    raise
                await asyncio.sleep(random.uniform(0.5, 1.0) * min(0.02 * 2**attempt, 2.0))  # noqa: S311 - spreads
        raise AssertionError("the last attempt returns or raises")


async def _roll_back(connection: Any, transaction: Any, *, cancelled: bool) -> None:
    try:
        await _seen_through(
            transaction.rollback(), connection.terminate, seconds=ROLLBACK_SECONDS, cancels=0 if cancelled else 1
        )
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
        connection.terminate()


async def _seen_through(
    ending: Coroutine[Any, Any, None], give_up: Callable[[], None], *, seconds: float, cancels: int = 1
) -> None:
    """Wait for an ending even while the caller is cancelled, and raise that cancel after it.

    After `seconds`, or at the first cancel beyond `cancels`, calls `give_up` and raises TimeoutError or the cancel.
    """
    task = asyncio.ensure_future(ending)
    task.add_done_callback(_note_error)
    cancel: asyncio.CancelledError | None = None
    with anyio.CancelScope(shield=True):  # anyio would cancel again and again
        for _ in range(cancels + 1):
            try:
                await asyncio.wait({task}, timeout=seconds)
                break
            except asyncio.CancelledError as error:
                cancel = error
    if not task.done():
        give_up()
    if cancel is not None:
        raise cancel
    if not task.done():
        raise TimeoutError(f"The database did not answer within {seconds:.0f} s.")
    task.result()


def _leave_it() -> None:
    """The pool ends a connection by itself that cannot be cleaned in time."""


def _note_error(task: asyncio.Future[None]) -> None:
    """Mark a task's error as seen: nobody may be waiting for it any more."""
    if not task.cancelled():
        task.exception()


@asynccontextmanager
async def open_database(
    project: Path, environ: Mapping[str, str] | None = None, *, pool_size: int = 8, migrate: bool = True
) -> AsyncIterator[Database]:
    """The database of a project: at HEADRACE_DATABASE_URL, else in the embedded server, which starts where needed.

    Raises DatabaseUnavailable, and what the embedded server and the migrations raise.
    """
    given = os.environ if environ is None else environ
    async with AsyncExitStack() as stack:
        attachment: Attachment | None = None
        dsn = given.get(URL_SETTING, "")
        if not dsn:
            attachment = await stack.enter_async_context(held_server(project, given))
            dsn = attachment.dsn()
        elif _names_nothing(dsn):
            raise InvalidAddress(
                f"{URL_SETTING} is {dsn}, which names neither a server nor a database.",
                remedy="Write it as postgresql://USER:PASSWORD@HOST:PORT/DATABASE.",
            )
        version = await _made_ready(dsn, migrate=migrate)
        pool = await _pool(dsn, pool_size)
        stack.push_async_callback(_close, pool)
        folder = attachment.place.folder / "data" if attachment else None
        kind = "embedded" if attachment else "external"
        yield Database(DatabaseAddress(dsn, kind, folder, version), pool, attachment)


def _names_nothing(dsn: str) -> bool:
    """Whether an address leaves all to what happens to listen on this machine: no database of ours to migrate."""
    rest = dsn.partition("://")[2]
    return dsn.startswith(("postgresql://", "postgres://")) and not rest.strip("/?")


def has_database(project: Path, environ: Mapping[str, str]) -> bool:
    """Whether a project's database was ever made, as far as that is known without reaching for it."""
    return bool(environ.get(URL_SETTING)) or place_of(project, environ).data.exists()


async def _close(pool: asyncpg.Pool[Any]) -> None:
    try:
        async with asyncio.timeout(5):
            await pool.close()
    except TimeoutError:
        pool.terminate()


async def _made_ready(dsn: str, *, migrate: bool) -> str:
    """Migrate where asked to; the server's version. Raises UnsupportedPostgres."""
    async with _unhurried(dsn) as connection:
        version = str(await connection.fetchval("SHOW server_version"))
        if connection.get_server_version().major < SUPPORTED_MAJORS[0]:
            raise UnsupportedPostgres(
                f"The server is Postgres {version}, which is too old.",
                remedy=f"Let {URL_SETTING} name one of version {SUPPORTED_MAJORS[0]} or newer.",
            )
        if migrate:
            await migrations.migrate(connection)
        else:
            await migrations.newer_migrations(connection)
        return version


@asynccontextmanager
async def _unhurried(dsn: str) -> AsyncIterator[Any]:
    """A connection whose statements may take their time."""
    with _unreachable_told():
        connection = await asyncpg.connect(dsn, timeout=CONNECT_SECONDS, server_settings=_SESSION)
    try:
        yield connection
    finally:
        await connection.close(timeout=RELEASE_SECONDS)


async def _pool(dsn: str, size: int) -> asyncpg.Pool[Any]:
    with _unreachable_told():
        return await asyncpg.create_pool(
            dsn,
            min_size=0,  # with a floor, asyncpg would try in the background, and log each try, while the server is away
            max_size=size,
            init=_prepare,
            reset=_left_clean,
            timeout=CONNECT_SECONDS,
            command_timeout=STATEMENT_SECONDS,
            server_settings=_SESSION,
        )


@contextmanager
def _unreachable_told() -> Iterator[None]:
    try:
        yield
    except ValueError as error:  # and asyncpg's own word for it
        raise InvalidAddress(
            f"{URL_SETTING} is no address of a database: {error}.",
            remedy="Write it as postgresql://USER:PASSWORD@HOST:PORT/DATABASE.",
        ) from error
    except (OSError, asyncpg.PostgresError, TimeoutError) as error:
        raise DatabaseUnavailable(
            f"The database cannot be reached: {error}",
            remedy=f"Check {URL_SETTING}, or unset it for the embedded server.",
        ) from error


async def _left_clean(connection: Any) -> None:
    """Nothing is left to reset: settings and locks of ours end with their transaction, which asyncpg makes sure of.

    Its own reset would be one more way to the server and back for every statement.
    """


async def _prepare(connection: Any) -> None:
    await connection.set_type_codec("jsonb", encoder=_encode, decoder=json.loads, schema="pg_catalog")
    # As bytes, for only so can it be a part of a composite value; they are the same as the text.
    await connection.set_type_codec("json", encoder=_encoded, decoder=json.loads, schema="pg_catalog", format="binary")


def _encoded(value: Any) -> bytes:
    """JSON as it travels; bytes are JSON already."""
    return value if isinstance(value, bytes) else _encode(value).encode()


def as_stored(value: Any) -> Any:
    """A JSON value as it comes back from the database."""
    return json.loads(_encoded(value))


def json_item(value: Any) -> Any:
    """A value as one item of an array of JSON, where asyncpg would take a list for a dimension of the array.

    Raises asyncpg.DataError for what JSON cannot hold.
    """
    if not isinstance(value, list | tuple):
        return value
    try:
        return _encoded(value)
    except (TypeError, ValueError) as error:
        raise asyncpg.DataError(str(error)) from error


def _encode(value: Any) -> str:
    """Encode a value for a json column; asyncpg makes a DataError of the TypeError or ValueError that is raised."""
    try:
        return json.dumps(value, separators=(",", ":"), allow_nan=False, default=_plain)
    except ValueError as error:
        raise ValueError(
            f"JSON in Postgres knows neither NaN nor infinity, nor values that hold themselves: {error}"
        ) from error


def _plain(value: Any) -> str:
    if isinstance(value, date):  # and datetime
        return value.isoformat()
    raise TypeError(f"a {type(value).__name__} cannot be stored as JSON")
