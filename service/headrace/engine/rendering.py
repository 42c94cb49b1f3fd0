"""Stored outputs in other formats, written by a process of its own: reading a pickled output runs code."""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import anyio

from headrace.domain.errors import HeadraceError

RENDER_SECONDS = 120.0


class NotRendered(HeadraceError):
    """An output has no form of this kind, or could not be brought into it in time."""

    code = "not-rendered"


@asynccontextmanager
async def rendered(
    codec: str, parts: AsyncIterator[bytes], form: str, project: Path, environ: Mapping[str, str]
) -> AsyncIterator[Path]:
    """A file with an output as csv, parquet or json, gone after the block. `environ` is what a worker sees.

    Raises NotRendered.
    """
    folder = await asyncio.to_thread(tempfile.TemporaryDirectory, prefix="headrace-")
    try:
        stored, written = Path(folder.name) / "stored", Path(folder.name) / "written"
        async with await anyio.open_file(stored, "wb") as file:
            async for part in parts:
                await file.write(part)
        await _render(stored, written, ("--codec", codec, "--format", form, "--project", str(project)), environ)
        yield written
    finally:
        await asyncio.to_thread(folder.cleanup)


async def _render(stored: Path, written: Path, options: Sequence[str], environ: Mapping[str, str]) -> None:
    form = options[3]
    sink = os.open(written, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "headrace.worker.render", *options, str(stored),
            stdin=asyncio.subprocess.DEVNULL, stdout=sink, stderr=asyncio.subprocess.PIPE, env=dict(environ),
        )  # fmt: skip
    finally:
        os.close(sink)
    try:
        async with asyncio.timeout(RENDER_SECONDS):
            _, told = await process.communicate()
    except TimeoutError:
        raise NotRendered(
            f"The output could not be written as {form} within {RENDER_SECONDS:.0f} s.", remedy="Download it as stored."
        ) from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode != 0:
        raise NotRendered(f"The output has no form {form}: {_reason(told)}", remedy="Download it as stored.")


def _reason(told: bytes) -> str:
    """What the program said of its failure: the message of an error of ours, or a traceback's last line."""
    lines = told.decode("utf-8", "replace").strip().splitlines() or ["it ended without a word"]
    ours = [line.partition("]: ")[2] for line in lines if line.startswith("error[")]
    return (ours or lines[-1:])[0]
