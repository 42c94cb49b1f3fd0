"""Memory and processor time of this process and all below it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from pathlib import Path

from headrace.store.database import Database


def family(extra: Collection[int] = ()) -> list[int]:
    """Pids of this process, of `extra`, and of everything below them."""
    return below([os.getpid(), *extra])


def below(roots: Collection[int]) -> list[int]:
    """Pids of some processes and of everything below them."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
            parents.setdefault(parent, []).append(int(entry.name))
    found, waiting = [], list(roots)
    while waiting:
        pid = waiting.pop()
        if pid not in found:
            found.append(pid)
            waiting += parents.get(pid, [])
    return found


def server_pids(database: Database) -> list[int]:
    """The pid of the embedded server; none where the database is another one."""
    folder = database.address.folder
    if folder is None or not (folder / "postmaster.pid").exists():
        return []
    return [int((folder / "postmaster.pid").read_text().split()[0])]


def pss(pids: Collection[int]) -> int:
    """Proportional set size of processes together, bytes."""
    total = 0
    for pid in pids:
        try:
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        total += sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
    return total


def cpu_seconds(pids: Collection[int]) -> float:
    """Processor time of processes so far, user and system, and of those of their children that have ended."""
    ticks = 0
    for pid in pids:
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        ticks += sum(map(int, fields[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK")


@asynccontextmanager
async def peak_memory(extra: Collection[int] = ()) -> AsyncIterator[list[int]]:
    """Samples the family's memory while the block runs; the list's one entry is the peak, bytes."""
    peak = [0]

    async def sample() -> None:
        while True:
            peak[0] = max(peak[0], await asyncio.to_thread(lambda: pss(family(extra))))
            await asyncio.sleep(0.05)

    task = asyncio.create_task(sample())
    try:
        yield peak
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
