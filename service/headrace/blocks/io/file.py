"""Tables in files: CSV, JSON, Parquet and XML; Excel and HDF5 where the packages that pandas needs are there."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from http.client import HTTPException
from pathlib import Path, PurePath
from typing import Any
from urllib.error import URLError
from urllib.parse import urlsplit

import pandas as pd

from headrace.blocks.context import get_repo_path
from headrace.blocks.io.base import ConnectorFault, FileFormat, Told

_ENDINGS = {
    "csv": FileFormat.CSV,
    "tsv": FileFormat.CSV,
    "json": FileFormat.JSON,
    "jsonl": FileFormat.JSON,
    "parquet": FileFormat.PARQUET,
    "pq": FileFormat.PARQUET,
    "h5": FileFormat.HDF5,
    "hdf5": FileFormat.HDF5,
    "hdf": FileFormat.HDF5,
    "xml": FileFormat.XML,
    "xlsx": FileFormat.EXCEL,
    "xls": FileFormat.EXCEL,
}
_COMPRESSIBLE = (FileFormat.CSV, FileFormat.JSON, FileFormat.XML)
_BY_ENDING: Mapping[str, Mapping[str, Any]] = {"tsv": {"sep": "\t"}, "jsonl": {"lines": True}}
"""What pandas has to be told about files with an ending."""
_PACKED = {"gz": "gzip", "bz2": "bz2", "zip": "zip", "xz": "xz", "zst": "zstd"}
"""Endings of compressed files, and what pandas calls their compression."""


Place = str | os.PathLike[str]
"""A path, or for reading the address of a file elsewhere: https://…, s3://…"""


class FileIO:
    """Reads and writes tables in files. A relative path is taken from the project's folder."""

    def __init__(self, verbose: bool = True, **_: Any) -> None:
        self._told = Told(type(self).__name__, verbose)

    def load(
        self,
        filepath: Place | None = None,
        format: FileFormat | str | None = None,
        file_directories: Sequence[Place] | None = None,
        limit: int | None = None,
        **options: Any,
    ) -> pd.DataFrame:
        """The table in a file (or, one below the other, in all files of folders); `options` go to pandas' reader.

        Raises ConnectorFault for a file that is not there, a format that is not known, or one that needs a package.
        """
        paths = [_path(filepath)] if filepath is not None else _files(file_directories or (), format)
        with self._told.step(f"Loading data frame from '{', '.join(map(str, paths))}'"):
            frames = [_read(path, _format(path, format), options) for path in paths]
        frame = frames[0] if len(frames) == 1 else pd.concat(frames, ignore_index=True)
        return frame if limit is None else frame.head(limit)

    def export(
        self,
        df: pd.DataFrame,
        filepath: str | os.PathLike[str],
        format: FileFormat | str | None = None,
        **options: Any,
    ) -> None:
        """Write a table into a file; `options` go to pandas' writer. Readers see the old file or the new one, whole."""
        path = Path(_path(filepath))
        kind = _format(path, format)
        path.parent.mkdir(parents=True, exist_ok=True)
        # The name keeps its ending: pandas chooses the compression by it.
        beside = path.with_name(f".{os.getpid()}-{path.name}")
        with self._told.step(f"Exporting data frame to '{path}'"):
            try:
                _write(df, beside, kind, options)
                beside.replace(path)
            finally:
                beside.unlink(missing_ok=True)

    def exists(self, filepath: str | os.PathLike[str]) -> bool:
        """Whether there is such a file."""
        return Path(_path(filepath)).exists()


def _path(given: Place) -> Place:
    is_address = isinstance(given, str) and "://" in given
    return given if is_address else Path(get_repo_path()) / given


def _files(folders: Sequence[Place], format: FileFormat | str | None) -> list[Place]:
    """The files of folders; where a format is told, without those whose ending tells another one."""
    found = [path for folder in folders for path in sorted(Path(_path(folder)).iterdir())]
    shown = [path for path in found if path.is_file() and not path.name.startswith(".")]
    files: list[Place] = [
        path for path in shown if format is None or _ENDINGS.get(_ending(path)) in (None, _format(path, format))
    ]
    if not files:
        raise ConnectorFault("There is no file to load.", remedy="Give a filepath, or folders that have files.")
    return files


def _format(path: Place, given: FileFormat | str | None) -> FileFormat:
    return _named(_ending(path) if given is None else str(given).lower())


def _ending(path: Place) -> str:
    """The last ending of a file's name before that of its compression."""
    endings = _endings(path)
    return endings[-2] if len(endings) > 1 and endings[-1] in _PACKED else (endings or [""])[-1]


def _endings(path: Place) -> list[str]:
    name = str(path) if isinstance(path, Path) else urlsplit(str(path)).path
    return [ending.lstrip(".").lower() for ending in PurePath(name).suffixes]


def _named(name: str) -> FileFormat:
    found = _ENDINGS.get(name) or next((item for item in FileFormat if name in (item.value, item.name.lower())), None)
    if found is None:
        known = ", ".join(FileFormat)
        raise ConnectorFault(f"No known format: {name or 'the file has no ending'}.", remedy=f"Give one of: {known}.")
    return found


def _read(path: Place, kind: FileFormat, options: Mapping[str, Any]) -> pd.DataFrame:
    more: dict[str, Any] = dict(_BY_ENDING.get(_ending(path), {}))
    if kind is FileFormat.XML:
        more["parser"] = "etree"
    if kind in _COMPRESSIBLE:
        # By its own look pandas would miss the ending of an address with a query behind it.
        more["compression"] = _PACKED.get((_endings(path) or [""])[-1])
    try:
        frame: pd.DataFrame = _READERS[kind](path, **{**more, **options})
    except ImportError as error:
        raise _lacking(kind, error) from error
    except FileNotFoundError:
        raise ConnectorFault(f"There is no file {path}.") from None
    except (URLError, HTTPException) as error:
        raise ConnectorFault(f"{path} cannot be read: {error}.", remedy="Check the address.") from error
    return frame


def _write(df: pd.DataFrame, path: Path, kind: FileFormat, options: Mapping[str, Any]) -> None:
    defaults: dict[FileFormat, dict[str, Any]] = {
        FileFormat.CSV: {"index": False},
        FileFormat.JSON: {"orient": "records"},
        FileFormat.EXCEL: {"index": False},
        FileFormat.XML: {"index": False, "parser": "etree"},
        FileFormat.HDF5: {"key": "table"},
    }
    try:
        _WRITERS[kind](df, path, **{**defaults.get(kind, {}), **_BY_ENDING.get(_ending(path), {}), **options})
    except ImportError as error:
        raise _lacking(kind, error) from error


def _lacking(kind: FileFormat, error: ImportError) -> ConnectorFault:
    return ConnectorFault(
        f"{kind.name} files need a package that is not installed: {error}.",
        remedy="Install it where Headrace runs, or use csv, json, xml or parquet.",
    )


_READERS: dict[FileFormat, Callable[..., Any]] = {
    FileFormat.CSV: pd.read_csv,
    FileFormat.JSON: pd.read_json,
    FileFormat.PARQUET: pd.read_parquet,
    FileFormat.HDF5: pd.read_hdf,
    FileFormat.XML: pd.read_xml,
    FileFormat.EXCEL: pd.read_excel,
}
_WRITERS: dict[FileFormat, Callable[..., Any]] = {
    FileFormat.CSV: pd.DataFrame.to_csv,
    FileFormat.JSON: pd.DataFrame.to_json,
    FileFormat.PARQUET: pd.DataFrame.to_parquet,
    FileFormat.HDF5: pd.DataFrame.to_hdf,
    FileFormat.XML: pd.DataFrame.to_xml,
    FileFormat.EXCEL: pd.DataFrame.to_excel,
}
