"""Where outputs are kept while a run goes on: files that the next worker maps, and their copies in the database."""

from __future__ import annotations

import base64
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID, uuid4

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
    _refs: dict[str, tuple[OutputRef, ...]] = field(default_factory=dict)

    def open(self) -> None:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def close(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    def put(self, block: str, outputs: Sequence[Output]) -> None:
        """Keep in mind where a block's outputs lie; they are recorded already."""
        self._refs[block] = tuple(OutputRef(output.codec, output.inline, output.path) for output in outputs)

    async def refs(self, blocks: Sequence[str]) -> Mapping[str, tuple[OutputRef, ...]]:
        """Where the outputs of some blocks lie, fetched from the database where this machine has none."""
        missing = [block for block in dict.fromkeys(blocks) if block not in self._refs]
        if missing:
            found: dict[str, list[OutputRef]] = {block: [] for block in missing}
            for output in await outputs_of(self.database, self.run, missing):
                found[output.block].append(await self._fetched(output))
            self._refs.update({block: tuple(refs) for block, refs in found.items()})
        return {block: self._refs[block] for block in blocks}

    async def _fetched(self, output: StoredOutput) -> OutputRef:
        codec = Codec(output.codec)
        if output.blob is None:
            return OutputRef(codec, inline=base64.b64encode(output.content or b"").decode())
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
            content = base64.b64decode(output.inline or "")
        else:
            blob = uuid4()
            await store_blob(self.database, blob, self.run, Path(output.path))
        return NewOutput(
            block, output.index, attempt, output.codec, output.bytes, output.rows, content, blob, output.preview
        )
