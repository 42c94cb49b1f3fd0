"""Outputs in the database: small ones in their row, large ones streamed in and out in parts."""

from __future__ import annotations

import builtins
import hashlib
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from uuid import UUID, uuid4

import anyio
import anyio.to_thread

from headrace.store.database import Database
from headrace.store.errors import OutputFileFault
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


@dataclass(frozen=True, slots=True)
class ListedOutput:
    """The facts of an output, without the value."""

    block: str
    position: int
    codec: str
    bytes: int
    rows: int | None


@dataclass(frozen=True, slots=True)
class ShownOutput:
    """An output to be shown: JSON text in `content` or in `blob`, or neither and the preview of anything else."""

    block: str
    content: builtins.bytes | None
    blob: UUID | None
    preview: Mapping[str, Any] | None


async def store_blob(database: Database, run: int, path: Path) -> UUID:
    """Stream a file into the database as the parts of a blob, in one transaction, and give the blob's id.

    Content that is there already is stored once. Raises OutputFileFault.
    """
    sha256 = await anyio.to_thread.run_sync(_digest, path)
    async with _opened(path, "rb") as file:
        with _faults_told(path):
            size = (await anyio.Path(path).stat()).st_size
        parts = max(1, -(-size // PART_BYTES))
        async with database.streams, database.transaction() as connection:
            made = uuid4()
            blob: UUID = await connection.fetchval(QUERIES["create_blob"], made, run, size, parts, sha256)
            for seq in range(parts if blob == made else 0):
                with _faults_told(path):
                    part = await file.read(PART_BYTES)
                await connection.execute(QUERIES["store_part"], blob, seq, part)
    return blob


def _digest(path: Path) -> bytes:
    with _faults_told(path), path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


async def blob_parts(database: Database, blob: UUID) -> AsyncIterator[bytes]:
    """The parts of a blob in order, one in memory at a time."""
    seq = 0
    while (part := await database.fetchval(QUERIES["part"], blob, seq)) is not None:
        yield part
        seq += 1


async def fetch_blob(database: Database, blob: UUID, path: Path) -> None:
    """Stream a blob into the file `path`, which appears whole or not at all. Raises OutputFileFault."""
    partial = path.with_suffix(".partial")
    try:
        async with _opened(partial, "wb") as file:
            async for part in blob_parts(database, blob):
                with _faults_told(path):
                    await file.write(part)
        with _faults_told(path):
            await anyio.Path(partial).rename(path)
    except BaseException:
        with suppress(OSError):  # it may not even have come into being
            partial.unlink()
        raise


@asynccontextmanager
async def _opened(path: Path, mode: Literal["rb", "wb"]) -> AsyncIterator[anyio.AsyncFile[bytes]]:
    with _faults_told(path):
        file = await anyio.open_file(path, mode)
    try:
        yield file
    finally:
        with _faults_told(path):
            await file.aclose()


@contextmanager
def _faults_told(path: Path) -> Iterator[None]:
    """A file's errors are not the database's: trying again would not help."""
    try:
        yield
    except OSError as error:
        raise OutputFileFault(
            f"The file {path} of an output cannot be used: {error.strerror or error}.",
            remedy="See whether its disk is full, then run the block again.",
        ) from error


async def outputs_of(database: Database, run: int, blocks: Sequence[str]) -> list[StoredOutput]:
    """The outputs of some blocks of a run, in each block's order."""
    rows = await database.fetch(QUERIES["outputs_of"], run, list(blocks))
    return [StoredOutput(**row) for row in rows]


async def drop_orphan_blobs(database: Database, *, older_than: float, most: int = 100) -> int:
    """Remove up to `most` blobs without an output, written more than `older_than` seconds ago; how many it were."""
    return len(await database.fetch(QUERIES["drop_orphan_blobs"], older_than, most))


async def list_outputs(database: Database, run: int, block: str) -> list[ListedOutput]:
    """The facts of a block's outputs, in order."""
    return [ListedOutput(**row) for row in await database.fetch(QUERIES["outputs_listed"], run, block)]


async def outputs_shown(database: Database, run: int, blocks: Sequence[str], most: int) -> list[ShownOutput]:
    """The outputs of some blocks as they are shown, in each block's order; `most` bytes of JSON are shown whole."""
    rows = await database.fetch(QUERIES["outputs_shown"], run, list(blocks), most)
    return [ShownOutput(row["block"], row["content"], row["blob"], row["preview"]) for row in rows]
