"""Connectors for block authors: databases and files."""

from __future__ import annotations

from headrace.blocks.io.base import DataSource, ExportWritePolicy, FileFormat
from headrace.blocks.io.config import ConfigFileLoader, ConfigKey, EnvironmentVariableLoader
from headrace.blocks.io.file import FileIO
from headrace.blocks.io.postgres import Postgres

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
