"""What goes wrong with a SQL block beside what Postgres says."""

from __future__ import annotations

from headrace.domain.errors import HeadraceError


class ProviderNotSupported(HeadraceError):
    """A SQL block asks for a database that Headrace has no connector for."""

    code = "provider-not-supported"


class SqlBlockFault(HeadraceError):
    """A SQL block cannot run as it is written. `line` counts from 1 in the rendered text."""

    code = "sql-block"

    def __init__(self, message: str, *, line: int | None = None, remedy: str = "") -> None:
        super().__init__(message, remedy=remedy)
        self.line = line
