"""The formats in which an output can be written."""

from __future__ import annotations

from enum import StrEnum


class OutputForm(StrEnum):
    """How an output is written."""

    TABLE = "table"
    """Its first rows, or the beginning of another value, for people."""
    CSV = "csv"
    """All rows of a table."""
    PARQUET = "parquet"
    """All rows of a table, with their types."""
    JSON = "json"
    """All rows as a list of objects, or any other value."""
