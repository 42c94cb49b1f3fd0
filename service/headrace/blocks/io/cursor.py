"""A cursor as Python's database interface has it, for code that was written for `loader.conn.cursor()`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from headrace.blocks.io.literals import Variables

if TYPE_CHECKING:
    from headrace.blocks.io.postgres import Postgres

Row = tuple[Any, ...]


class Cursor:
    """Runs statements in the connection's transaction and holds the rows of the last one."""

    def __init__(self, connection: Postgres) -> None:
        self.connection = connection
        self.description: list[tuple[Any, ...]] | None = None
        self.rowcount = -1
        self._rows: list[Row] = []

    def execute(self, query: str, vars: Variables | None = None) -> None:
        """Run a statement, with its variables in place of `%s` or `%(name)s`."""
        columns, rows, status = self.connection.fetched(query, vars or ())
        self.description = [(name, *[None] * 6) for name in columns] or None
        self.rowcount = len(rows) if columns else _count(status)
        self._rows = rows

    def executemany(self, query: str, vars_list: Sequence[Variables]) -> None:
        """Run a statement once for each set of variables."""
        for variables in vars_list:
            self.execute(query, variables)

    def fetchone(self) -> Row | None:
        """The next row, or None."""
        return next(iter(self.fetchmany(1)), None)

    def fetchmany(self, size: int = 1) -> list[Row]:
        """At most `size` rows more."""
        rows, self._rows = self._rows[:size], self._rows[size:]
        return rows

    def fetchall(self) -> list[Row]:
        """All rows that are left."""
        return self.fetchmany(len(self._rows))

    def close(self) -> None:
        """Let go of the rows."""
        self._rows = []

    def __iter__(self) -> Iterator[Row]:
        return iter(self.fetchall())

    def __enter__(self) -> Cursor:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _count(status: str) -> int:
    """How many rows a statement changed: `UPDATE 3`."""
    last = status.rpartition(" ")[2]
    return int(last) if last.isdigit() else -1
