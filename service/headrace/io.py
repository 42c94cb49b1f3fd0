"""Connectors for block authors: `from headrace.io import ConfigFileLoader, Postgres`."""

from __future__ import annotations

from headrace.blocks.io import (
    ConfigFileLoader,
    ConfigKey,
    DataSource,
    EnvironmentVariableLoader,
    ExportWritePolicy,
    FileFormat,
    FileIO,
    Postgres,
)

__all__ = [
    "ConfigFileLoader",
    "ConfigKey",
    "DataSource",
    "EnvironmentVariableLoader",
    "ExportWritePolicy",
    "FileFormat",
    "FileIO",
    "Postgres",
]
