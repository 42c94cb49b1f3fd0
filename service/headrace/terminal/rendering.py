"""Writes a stored output in another format, through a process of its own: only workers unpickle."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

from headrace.engine.views import OutputView


async def write_output(view: OutputView, parts: AsyncIterator[bytes], form: str) -> int:
    """Write an output to standard output as csv, parquet or json; the exit code of the process that did it."""
    with tempfile.TemporaryDirectory(prefix="headrace-") as folder:
        path = Path(folder) / "output"
        with path.open("wb") as file:
            async for part in parts:
                file.write(part)
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "headrace.worker.render", "--codec", view.codec, "--format", form, str(path)
        )
        return await process.wait()
