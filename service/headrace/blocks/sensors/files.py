"""Files, and objects in a store, that arrive or change."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import fsspec

from headrace.blocks.context import get_repo_path
from headrace.blocks.event import Event
from headrace.blocks.sensors.messages import digest

_WHOLE_AT_ONCE = frozenset({"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "adl", "oss", "memory"})
"""Protocols of stores in which an object is there whole or not at all."""
_TIMES = ("mtime", "LastModified", "last_modified", "updated", "created")
_VERSIONS = ("ETag", "etag", "md5Hash", "generation", "ino")


@dataclass(frozen=True, slots=True)
class Found:
    """A file as a look found it; `version` is another once the file is another."""

    path: str
    size: int
    modified: datetime | None
    version: str


def file_arrival(
    cursor: Any = None,
    *,
    path: str,
    stable: bool | None = None,
    least_bytes: int = 1,
    options: dict[str, Any] | None = None,
) -> tuple[list[Event], Any]:
    """An event for each file that matches `path`, once for each version of it.

    `path` is a pattern, relative to the project or with a protocol (`s3://bucket/in/*.csv`), `options` go to fsspec.
    With `stable` a file must look the same twice in a row, since somebody may be writing it: by default everywhere but
    in stores that show an object only when it is whole. The payload has path, name, size and modified; the cursor keeps
    what is told of the files that are there, so that those which are worked on should be moved away in the end.
    """
    system, pattern = fsspec.core.url_to_fs(_absolute(path), **(options or {}))
    told: dict[str, str] = dict(cursor.get("told", {})) if isinstance(cursor, Mapping) else {}
    seen: dict[str, str] = dict(cursor.get("seen", {})) if isinstance(cursor, Mapping) else {}
    found = [file for file in _found(system, pattern) if file.size >= least_bytes]
    fresh = [file for file in found if told.get(file.path) != file.version]
    wait = not _is_whole(system) if stable is None else stable
    ready = [file for file in fresh if not wait or seen.get(file.path) == file.version]
    here = {file.path for file in found}
    kept = {name: version for name, version in told.items() if name in here} | {f.path: f.version for f in ready}
    waiting = {file.path: file.version for file in fresh if file not in ready}
    moved = {"told": kept, "seen": waiting}
    return [_event(system, file) for file in ready], moved if moved != {"told": told, "seen": seen} else None


def _absolute(path: str) -> str:
    return path if "://" in path or "::" in path else str(Path(get_repo_path(), path))


def _is_whole(system: Any) -> bool:
    protocols = (system.protocol,) if isinstance(system.protocol, str) else tuple(system.protocol)
    return bool(_WHOLE_AT_ONCE.intersection(protocols))


def _found(system: Any, pattern: str) -> Iterator[Found]:
    system.invalidate_cache()
    matches: Mapping[str, Mapping[str, Any]] = system.glob(pattern, detail=True)
    for path, facts in sorted(matches.items()):
        if facts.get("type") != "file":
            continue
        modified = _modified(facts)
        size = int(facts.get("size") or 0)
        marks = [facts.get(name) for name in _VERSIONS]
        yield Found(path, size, modified, digest(size, modified, *marks)[:16])


def _modified(facts: Mapping[str, Any]) -> datetime | None:
    value = next((facts[name] for name in _TIMES if facts.get(name) is not None), None)
    if isinstance(value, int | float):
        return datetime.fromtimestamp(value, UTC)
    if isinstance(value, str):
        value = datetime.fromisoformat(value)
    if isinstance(value, datetime):
        return value if value.tzinfo else value.replace(tzinfo=UTC)
    return None


def _event(system: Any, file: Found) -> Event:
    payload = {
        "path": system.unstrip_protocol(file.path) if not _is_local(system) else file.path,
        "name": file.path.rsplit("/", 1)[-1],
        "size": file.size,
        "modified": file.modified,
    }
    return Event(payload, f"{file.path}@{file.version}", file.modified)


def _is_local(system: Any) -> bool:
    protocols: Iterable[str] = (system.protocol,) if isinstance(system.protocol, str) else system.protocol
    return "file" in protocols
