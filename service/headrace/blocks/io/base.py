"""What all connectors share: their words, their errors, and the lines that they write into a block's log."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum

from headrace.domain.errors import HeadraceError


class ConnectorFault(HeadraceError):
    """A connector could not do what a block asked of it."""

    code = "connector-failed"


class DataSource(StrEnum):
    """Where data comes from and goes to."""

    FILE = "file"
    POSTGRES = "postgres"


class FileFormat(StrEnum):
    """Formats of files."""

    CSV = "csv"
    JSON = "json"
    PARQUET = "parquet"
    HDF5 = "hdf5"
    XML = "xml"
    EXCEL = "excel"


class ExportWritePolicy(StrEnum):
    """What an export does with a table that exists."""

    APPEND = "append"
    """Rows are added to it."""
    FAIL = "fail"
    """The export is refused."""
    REPLACE = "replace"
    """A new table takes its place in one instant."""


class Told:
    """Writes what a connector does to standard output, which is the block's log."""

    def __init__(self, name: str, verbose: bool) -> None:
        self._verbose = verbose
        if verbose:
            sys.stdout.write(f"{name} initialized\n")

    @contextmanager
    def step(self, text: str, verbose: bool = True) -> Iterator[None]:
        """Write what begins, and DONE on the same line once it is through."""
        quiet = not (self._verbose and verbose)
        if quiet:
            yield
            return
        sys.stdout.write(f"└─ {text}...")
        done = "FAILED\n"
        try:
            yield
            done = "DONE\n"
        finally:
            sys.stdout.write(done)
