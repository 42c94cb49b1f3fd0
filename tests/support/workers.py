"""A pool of real workers, calls of blocks written in a line or two, and a look at what processes are alive."""

from __future__ import annotations

import importlib.util
import os
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path
from textwrap import dedent
from typing import Any

from headrace.engine.workers import LogLine, Worker, WorkerKey, WorkerPool, worker_environ
from headrace.worker.protocol import Call, Codec, CodeRef, Mode, OutputRef, Result

_NUMBERS = count(1)
HAS_BLOCKS = importlib.util.find_spec("headrace.blocks.calling") is not None
PRELOAD = ("headrace.mage",) if HAS_BLOCKS else ("tests.support.standin_blocks",)
ROOT = Path(__file__).resolve().parents[2]


def make_pool(**options: Any) -> WorkerPool:
    environ = worker_environ(os.environ, {} if HAS_BLOCKS else {"PYTHONPATH": str(ROOT)})
    return WorkerPool(**{"environ": environ, "preload": PRELOAD, **options})


def call_of(project: Path, source: str, *, block: str = "b", **fields: Any) -> Call:
    text = dedent(source)
    if "@" not in text:
        text = "@data_loader\n" + text
    known: dict[str, Any] = {
        "mode": Mode.RUN,
        "language": "python",
        "code": CodeRef(block, str(project / f"{block}.py"), text),
        "output_folder": str(project),
        **fields,
    }
    return Call(
        id=next(_NUMBERS), project=str(project), pipeline="p", block=block, block_type="data_loader", **known
    )  # fmt: skip


class Runs:
    """Runs sources in workers of one pool and keeps the log of the last one."""

    def __init__(self, pool: WorkerPool, project: Path) -> None:
        self.pool = pool
        self.project = project
        self.key = WorkerKey(str(project), "v1")
        self.lines: list[LogLine] = []

    async def __call__(self, source: str, *, timeout: float | None = None, grace: float = 5.0, **fields: Any) -> Result:
        worker = await self.pool.acquire(self.key)
        self.lines = []
        try:
            return await worker.call(
                call_of(self.project, source, **fields), on_log=self.lines.append, timeout=timeout, grace=grace
            )
        finally:
            self.pool.release(worker)

    async def worker(self) -> Worker:
        return await self.pool.acquire(self.key)

    @property
    def texts(self) -> list[str]:
        return [line.text for line in self.lines]


def value_of(result: Result, index: int = 0) -> Any:
    from headrace.worker.codec import decode_output

    output = result.outputs[index]
    return decode_output(OutputRef(Codec(output.codec), output.inline, output.path))


def is_alive(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return text.rpartition(")")[2].split()[0] not in "ZX"


def wait_until(condition: Callable[[], bool], within: float) -> bool:
    """Whether `condition` comes true in time."""
    end = time.monotonic() + within
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True
