"""Outputs in the database: small ones in their row, large ones streamed in and out in parts."""

from __future__ import annotations

import builtins
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import anyio

from headrace.store.database import Database
from headrace.store.queries import QUERIES

PART_BYTES = 4 << 20
"""Bytes of one part of a blob: large enough to be quick, small enough never to weigh in memory."""


@dataclass(frozen=True, slots=True)
class StoredOutput:
    """An output as recorded, without its preview."""

    block: str
    position: int
    codec: str
    bytes: int
    rows: int | None
    content: builtins.bytes | None
    blob: UUID | None


async def store_blob(database: Database, blob: UUID, run: int, path: Path) -> None:
    """Stream a file into the database as the parts of a new blob, in one transaction."""
    size = (await anyio.Path(path).stat()).st_size
    parts = max(1, -(-size // PART_BYTES))
    async with await anyio.open_file(path, "rb") as file, database.streams, database.transaction() as connection:
        await connection.execute(QUERIES["create_blob"], blob, run, size, parts)
        for seq in range(parts):
            await connection.execute(QUERIES["store_part"], blob, seq, await file.read(PART_BYTES))


async def blob_parts(database: Database, blob: UUID) -> AsyncIterator[bytes]:
    """The parts of a blob in order, one in memory at a time."""
    seq = 0
    while (part := await database.fetchval(QUERIES["part"], blob, seq)) is not None:
        yield part
        seq += 1


async def fetch_blob(database: Database, blob: UUID, path: Path) -> None:
    """Stream a blob into the file `path`, which appears whole or not at all."""
    partial = path.with_suffix(".partial")
    async with await anyio.open_file(partial, "wb") as file:
        async for part in blob_parts(database, blob):
            await file.write(part)
    await anyio.Path(partial).rename(path)


async def outputs_of(database: Database, run: int, blocks: Sequence[str]) -> list[StoredOutput]:
    """The outputs of some blocks of a run, in each block's order."""
    rows = await database.fetch(QUERIES["outputs_of"], run, list(blocks))
    return [StoredOutput(**row) for row in rows]


async def drop_orphan_blobs(database: Database, *, older_than: float, most: int = 100) -> int:
    """Remove up to `most` blobs without an output, written more than `older_than` seconds ago; how many it were."""
    return len(await database.fetch(QUERIES["drop_orphan_blobs"], older_than, most))
