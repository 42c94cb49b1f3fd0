"""Where outputs are kept while a run goes on: files that the next worker maps, and their copies in the database."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID

import anyio

from headrace.domain.newer import known
from headrace.store.database import Database
from headrace.store.outputs import StoredOutput, fetch_blob, outputs_of, store_blob
from headrace.store.runs import NewOutput
from headrace.worker.protocol import Codec, Output, OutputRef


@dataclass
class Shelf:
    """The outputs of one run on this machine. `folder` is its own: made with the first file, gone with the run."""

    database: Database
    run: int
    folder: Path
    most_inline: int = 16 << 20
    """Bytes of small outputs that are kept in memory; the database has them all."""
    _refs: dict[str, tuple[OutputRef, ...]] = field(default_factory=dict)
    _inline: int = 0
    _fetching: anyio.Lock = field(default_factory=anyio.Lock)

    async def close(self) -> None:
        """Remove what lies on this machine."""
        if self.folder.exists():
            await asyncio.to_thread(shutil.rmtree, self.folder, ignore_errors=True)

    def put(self, block: str, outputs: Sequence[Output]) -> None:
        """Keep in mind where a block's outputs lie; they are recorded already, or will be before anybody asks."""
        self._keep(block, tuple(OutputRef(output.codec, output.inline, output.path) for output in outputs))

    def _keep(self, block: str, refs: tuple[OutputRef, ...]) -> None:
        self._refs[block] = refs
        self._inline += _inline_bytes(refs)
        while self._inline > self.most_inline:
            oldest = next(name for name, kept in self._refs.items() if _inline_bytes(kept))
            self._inline -= _inline_bytes(self._refs.pop(oldest))

    def kept(self, blocks: Sequence[str]) -> Mapping[str, tuple[OutputRef, ...]] | None:
        """Where the outputs of some blocks lie, if this machine has them all."""
        refs = {block: self._refs[block] for block in blocks if block in self._refs}
        return refs if all(block in refs for block in blocks) else None

    async def refs(self, blocks: Sequence[str]) -> Mapping[str, tuple[OutputRef, ...]]:
        """Where the outputs of some blocks lie, fetched from the database where this machine has none.

        Raises OutputFileFault.
        """
        found = {block: self._refs[block] for block in blocks if block in self._refs}
        if len(found) < len(set(blocks)):
            async with self._fetching:
                found |= await self._fetch([block for block in blocks if block not in found])
        return found

    async def _fetch(self, blocks: Sequence[str]) -> Mapping[str, tuple[OutputRef, ...]]:
        found: dict[str, list[OutputRef]] = {block: [] for block in blocks}
        for output in await outputs_of(self.database, self.run, blocks):
            found[output.block].append(await self._fetched(output))
        refs = {block: tuple(outputs) for block, outputs in found.items()}
        for block in refs.keys() - self._refs.keys():
            self._keep(block, refs[block])
        return refs

    async def _fetched(self, output: StoredOutput) -> OutputRef:
        codec = known(Codec, output.codec, f"the codec of an output of block {output.block} in run {self.run}")
        if output.blob is None:
            return OutputRef(codec, inline=output.content or b"")
        path = self.folder / f"{output.blob}"
        if not path.exists():
            await asyncio.to_thread(_make_folder, self.folder)
            await fetch_blob(self.database, output.blob, path)
        return OutputRef(codec, path=str(path))

    async def store(self, outputs: Sequence[Output]) -> Mapping[int, UUID]:
        """Stream the outputs that lie in files into the database; the blob of each, by the output's index."""
        blobs: dict[int, UUID] = {}
        for output in outputs:
            if output.path is not None:
                blobs[output.index] = await store_blob(self.database, self.run, Path(output.path))
        return blobs


def new_outputs(
    block: str, attempt: int, outputs: Sequence[Output], blobs: Mapping[int, UUID]
) -> tuple[NewOutput, ...]:
    """What is to be recorded of outputs with their block's end; `blobs` as `Shelf.store` gives them."""
    return tuple(
        NewOutput(
            block,
            output.index,
            attempt,
            output.codec,
            output.bytes,
            output.rows,
            None if output.index in blobs else output.inline or b"",
            blobs.get(output.index),
            bytes(output.preview),
        )
        for output in outputs
    )


def _make_folder(folder: Path) -> None:
    """Where it cannot be made, the file that should lie in it tells so."""
    with suppress(OSError):
        folder.mkdir(mode=0o700, exist_ok=True)


def _inline_bytes(refs: Sequence[OutputRef]) -> int:
    return sum(len(ref.inline or b"") for ref in refs)
