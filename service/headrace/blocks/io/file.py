"""Frames in local files."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pandas as pd

from headrace.blocks.io.base import FileFormat
from headrace.domain.errors import HeadraceError


class UnknownFormat(HeadraceError):
    """A file's format is none that can be read or written here."""

    code = "unknown-file-format"


class FileIO:
    """Loads frames from files and exports them; the format is told, or taken from the file's extension."""

    def __init__(self, **_: Any) -> None:
        return

    def load(self, filepath: str | os.PathLike[str], format: str | None = None, **options: Any) -> pd.DataFrame:
        """A frame from a csv, json or parquet file; `options` go to the pandas function."""
        readers: dict[FileFormat, Any] = {
            FileFormat.CSV: pd.read_csv,
            FileFormat.JSON: pd.read_json,
            FileFormat.PARQUET: pd.read_parquet,
        }
        frame: pd.DataFrame = readers[_format(filepath, format)](filepath, **options)
        return frame

    def export(
        self, df: pd.DataFrame, filepath: str | os.PathLike[str], format: str | None = None, **options: Any
    ) -> None:
        """Write a frame; folders on the way are made. CSV files carry no index unless asked to."""
        kind = _format(filepath, format)
        Path(filepath).parent.mkdir(parents=True, exist_ok=True)
        match kind:
            case FileFormat.CSV:
                df.to_csv(filepath, **{"index": False, **options})
            case FileFormat.JSON:
                df.to_json(filepath, **options)
            case FileFormat.PARQUET:
                df.to_parquet(filepath, **options)

    def exists(self, filepath: str | os.PathLike[str]) -> bool:
        """Whether the file is there."""
        return Path(filepath).exists()


def _format(filepath: str | os.PathLike[str], given: str | None) -> FileFormat:
    name = str(given or "").lower() or next(
        (suffix[1:].lower() for suffix in reversed(Path(filepath).suffixes) if suffix[1:].lower() in set(FileFormat)),
        "",
    )
    if name not in set(FileFormat):
        raise UnknownFormat(
            f"{filepath}: the format {name or 'of this file'} is not known.", remedy=f"Use {', '.join(FileFormat)}."
        )
    return FileFormat(name)
