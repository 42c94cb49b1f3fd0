"""What can go wrong with the database, each with its stable code and what to do next."""

from __future__ import annotations

import asyncpg

from headrace.domain.errors import HeadraceError


class StoreError(HeadraceError):
    """The base of all that the store raises on purpose."""

    code = "store-error"


class PostgresNotFound(StoreError):
    """Neither a server's address nor Postgres binaries were found."""

    code = "postgres-not-found"


class UnsupportedPostgres(StoreError):
    """The server or its binaries are of a major version that Headrace is not made for."""

    code = "unsupported-postgres"


class OtherMajorVersion(StoreError):
    """The data folder was made by another major version of Postgres than the binaries at hand."""

    code = "data-folder-of-other-version"


class FolderUnusable(StoreError):
    """A folder that the embedded server needs cannot be made, written, or trusted."""

    code = "folder-unusable"


class ServerUserMissing(StoreError):
    """Headrace runs as root and found no ordinary user to run Postgres as."""

    code = "server-user-missing"


class ServerStartFailed(StoreError):
    """The embedded server, or the making of its data folder, failed; the message ends with its log."""

    code = "postgres-start-failed"


class DatabaseBusy(StoreError):
    """No connection, or no lock, came free before the deadline."""

    code = "database-busy"


class DatabaseUnavailable(StoreError):
    """The server could not be reached; nothing was sent to it."""

    code = "database-unavailable"


class InvalidAddress(StoreError):
    """What was given as the database's address cannot be read as one."""

    code = "invalid-address"


class OutputFileFault(StoreError):
    """The file of an output cannot be read or written on this machine: its disk is full, or somebody removed it."""

    code = "output-file"


class OutputsRemoved(StoreError):
    """Stored outputs that a new run was to keep are gone."""

    code = "outputs-removed"


class InvalidMigrations(StoreError):
    """The folder of migrations is not a numbered sequence of SQL files."""

    code = "invalid-migrations"


class MigrationChanged(StoreError):
    """A migration that was already applied has another content now."""

    code = "migration-changed"


class MigrationFailed(StoreError):
    """A migration's SQL was refused; nothing of that file was kept if it runs in a transaction."""

    code = "migration-failed"


class SchemaTooNew(StoreError):
    """A newer Headrace migrated the database in a way that this one cannot work with."""

    code = "schema-too-new"


class InvalidQueries(StoreError):
    """A file of named queries has a duplicate name, a missing purpose, or text outside any query."""

    code = "invalid-queries"


UNFIT_SCHEMA: tuple[type[BaseException], ...] = (asyncpg.SyntaxOrAccessError, asyncpg.FeatureNotSupportedError)
"""What a statement of ours raises where tables are not as this version knows them: a column or a function is gone."""

DATABASE_AWAY: tuple[type[BaseException], ...] = (
    OSError,
    TimeoutError,
    DatabaseBusy,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.DeadlockDetectedError,
    asyncpg.SerializationError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.PostgresSystemError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.LockNotAvailableError,
)
"""What work on a database raises when the server went away, is coming back, is full, stands by, or was too busy just
then: trying the same again, by an idempotent statement, is right. InternalClientError is what asyncpg says of a
connection that was cut. A file's error is an OSError too: whoever reads files must tell it apart."""
