"""Log lines in the database."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass
from datetime import datetime
from typing import Any

from headrace.store.database import Database
from headrace.store.queries import QUERIES


@dataclass(frozen=True, slots=True)
class StoredLine:
    """One line of a block's log; `seq` counts from 1 within an attempt under one fencing token."""

    run: int
    block: str
    attempt: int
    fence: int
    seq: int
    at: datetime
    stream: str
    level: str
    text: str


async def store_log_lines(database: Database, lines: Sequence[StoredLine]) -> None:
    """Write lines in one statement; writing the same lines again changes nothing."""
    columns = zip(*(astuple(line) for line in lines), strict=True)
    await database.execute(QUERIES["store_log_lines"], *(list(column) for column in columns))


async def log_lines(
    database: Database, run: int, *, after: int = 0, block: str | None = None, limit: int = 1000
) -> list[Any]:
    """A page of a run's lines in the order they were stored, beyond the line with id `after`."""
    return list(await database.fetch(QUERIES["log_lines"], run, after, block, limit))
