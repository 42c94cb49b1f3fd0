"""The named SQL of the store: `sql/*.sql`, read once at import into `QUERIES`.

A file is a row of blocks: a line `-- name: create_run`, a comment line that tells the purpose, then the SQL.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from importlib.resources import files
from types import MappingProxyType

from headrace.store.errors import InvalidQueries

_NAME = re.compile(r"^-- name: *(\w+) *$", re.MULTILINE)


def parse_queries(text: str, source: str) -> dict[str, str]:
    """Return name -> SQL of one file's text; `source` is its name for the errors. Raises InvalidQueries."""
    preamble, *parts = _NAME.split(text)
    _refuse_sql_outside(preamble, source)
    queries: dict[str, str] = {}
    for name, body in zip(parts[::2], parts[1::2], strict=True):
        if name in queries:
            raise InvalidQueries(f"{source}: the query {name} is there twice.")
        queries[name] = _query(name, body.strip(), source)
    return queries


def _refuse_sql_outside(preamble: str, source: str) -> None:
    for line in preamble.splitlines():
        if line.strip() and not line.startswith("--"):
            raise InvalidQueries(f"{source}: SQL stands before the first '-- name:' line: {line.strip()!r}.")


def _query(name: str, body: str, source: str) -> str:
    purpose, _, rest = body.partition("\n")
    if not purpose.startswith("-- "):
        raise InvalidQueries(f"{source}: the query {name} lacks its purpose line ('-- ...' below its name).")
    if not any(line.strip() and not line.lstrip().startswith("--") for line in rest.splitlines()):
        raise InvalidQueries(f"{source}: the query {name} has no SQL.")
    return rest.strip()


def merge_queries(sources: Iterable[tuple[str, str]]) -> Mapping[str, str]:
    """Return all queries of (file name, text) pairs as one read-only mapping. Raises InvalidQueries on duplicates."""
    merged: dict[str, str] = {}
    owner: dict[str, str] = {}
    for source, text in sources:
        for name, sql in parse_queries(text, source).items():
            if name in merged:
                raise InvalidQueries(f"{source}: the query {name} is already in {owner[name]}.")
            merged[name], owner[name] = sql, source
    return MappingProxyType(merged)


def _packaged() -> list[tuple[str, str]]:
    folder = files("headrace.store") / "sql"
    found = [entry for entry in folder.iterdir() if entry.name.endswith(".sql")] if folder.is_dir() else []
    return [(entry.name, entry.read_text("utf-8")) for entry in sorted(found, key=lambda entry: entry.name)]


QUERIES: Mapping[str, str] = merge_queries(_packaged())
