"""Where outputs are kept while a run goes on: files that the next worker maps, and their copies in the database."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID

import anyio

from headrace.store.database import Database
from headrace.store.outputs import StoredOutput, fetch_blob, outputs_of, store_blob
from headrace.store.runs import NewOutput
from headrace.worker.protocol import Codec, Output, OutputRef


@dataclass
class Shelf:
    """The outputs of one run on this machine. `folder` is the run's own and goes when the run is over."""

    database: Database
    run: int
    folder: Path
    most_inline: int = 16 << 20
    """Bytes of small outputs that are kept in memory; the database has them all."""
    _refs: dict[str, tuple[OutputRef, ...]] = field(default_factory=dict)
    _inline: int = 0
    _fetching: anyio.Lock = field(default_factory=anyio.Lock)

    def open(self) -> None:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def close(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    def put(self, block: str, outputs: Sequence[Output]) -> None:
        """Keep in mind where a block's outputs lie; they are recorded already, or will be before anybody asks."""
        self._keep(block, tuple(OutputRef(output.codec, output.inline, output.path) for output in outputs))

    def _keep(self, block: str, refs: tuple[OutputRef, ...]) -> None:
        self._refs[block] = refs
        self._inline += _inline_bytes(refs)
        while self._inline > self.most_inline:
            oldest = next(name for name, kept in self._refs.items() if _inline_bytes(kept))
            self._inline -= _inline_bytes(self._refs.pop(oldest))

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
        codec = Codec(output.codec)
        if output.blob is None:
            return OutputRef(codec, inline=output.content or b"")
        path = self.folder / f"{output.blob}"
        if not path.exists():
            await fetch_blob(self.database, output.blob, path)
        return OutputRef(codec, path=str(path))

    async def store(self, block: str, attempt: int, outputs: Sequence[Output]) -> tuple[NewOutput, ...]:
        """Stream large outputs into the database; what is left to do is to record them with the block's end."""
        return tuple([await self._stored(block, attempt, output) for output in outputs])

    async def _stored(self, block: str, attempt: int, output: Output) -> NewOutput:
        blob: UUID | None = None
        content: bytes | None = None
        if output.path is None:
            content = output.inline or b""
        else:
            blob = await store_blob(self.database, self.run, Path(output.path))
        return NewOutput(
            block, output.index, attempt, output.codec, output.bytes, output.rows, content, blob, bytes(output.preview)
        )


def _inline_bytes(refs: Sequence[OutputRef]) -> int:
    return sum(len(ref.inline or b"") for ref in refs)
