"""The choices that connectors share."""

from __future__ import annotations

from enum import StrEnum


class DataSource(StrEnum):
    """Where data comes from and goes to."""

    FILE = "file"
    POSTGRES = "postgres"


class FileFormat(StrEnum):
    """Formats of files."""

    CSV = "csv"
    JSON = "json"
    PARQUET = "parquet"


class ExportWritePolicy(StrEnum):
    """What an export does with a table that exists."""

    APPEND = "append"
    FAIL = "fail"
    REPLACE = "replace"
