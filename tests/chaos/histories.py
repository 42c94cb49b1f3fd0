"""Runs that leave a ledger of every body that ran, and what must be true of them whatever was killed."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from pathlib import Path

import asyncpg
from headrace.service import open_headrace

from tests.chaos.checker import faults
from tests.support.projects import write_pipeline, write_project

INSTANTS = int(os.environ.get("HEADRACE_CHAOS_INSTANTS", "8"))
"""How many kills a test makes; the long form asks for more."""

BODY = """
import os, time
@custom
def body(*args, **kwargs):
    print("a line of", kwargs["block_uuid"])
    time.sleep({pause})
    with open({ledger!r}, "a") as ledger:
        ledger.write(f"{{kwargs['pipeline_run_id']}} {{kwargs['block_uuid']}} {{kwargs['retry']['attempts']}}\\n")
    return {{"sum": len(args), "block": kwargs["block_uuid"], "pad": "x" * {pad}}}
"""


def branching(blocks: int) -> dict[str, tuple[str, ...]]:
    """A root, three branches side by side, and a join at the end."""
    edges: dict[str, tuple[str, ...]] = {"b00": ()}
    tails = ["b00", "b00", "b00"]
    for number in range(1, blocks - 1):
        lane = number % 3
        edges[f"b{number:02d}"] = (tails[lane],)
        tails[lane] = f"b{number:02d}"
    edges[f"b{blocks - 1:02d}"] = tuple(dict.fromkeys(tails))
    return edges


def branching_project(tmp_path: Path, *, pause: float = 0.002, pad: int = 0, **options: object) -> Path:
    """A project with the pipeline `branching`: 20 blocks that write into the ledger; `pad` makes outputs large."""
    root = write_project(tmp_path / "project")
    source = BODY.format(ledger=str(tmp_path / "ledger"), pause=pause, pad=pad)
    write_pipeline(root, "branching", branching(20), default=source, options=options)
    return root


async def create(project: Path, database_url: str, pipeline: str = "branching") -> int:
    """Record a run that nobody drives yet."""
    environ = {**os.environ, "HEADRACE_DATABASE_URL": database_url}
    async with open_headrace(project, environ=environ, drive=False) as headrace:
        return await headrace.create_run(pipeline)


async def ended(database_url: str, runs: list[int], seconds: float = 90) -> list[str]:
    """Wait until runs have ended; their statuses."""
    connection = await asyncpg.connect(database_url)
    try:
        async with asyncio.timeout(seconds):
            while True:
                rows = await connection.fetch(
                    "SELECT status, finished_at FROM headrace.run WHERE id = ANY ($1) ORDER BY id", runs
                )
                if all(row["finished_at"] for row in rows):
                    return [row["status"] for row in rows]
                await asyncio.sleep(0.02)
    finally:
        await connection.close()


async def assert_history_holds(database_url: str, tmp_path: Path) -> None:
    """The record breaks no promise, and the ledger agrees with it.

    A body runs at most once for each attempt that started, and not at all after the attempt that completed.
    """
    connection = await asyncpg.connect(database_url)
    try:
        assert await faults(connection) == []
        completed = await connection.fetch(
            "SELECT run_id, block, number FROM headrace.attempt WHERE outcome = 'completed'"
        )
    finally:
        await connection.close()
    ran = Counter(tuple(line.split()) for line in (tmp_path / "ledger").read_text().splitlines())
    twice = {key: count for key, count in ran.items() if count > 1}
    assert not twice, "the body of one attempt ran more than once"
    last = {(str(row["run_id"]), row["block"]): row["number"] for row in completed}
    for run, block, attempt in ran:
        assert int(attempt) <= last.get((run, block), 10**9), f"{run}/{block} ran again after it had completed"
    for (run, block), number in last.items():
        assert (run, block, str(number)) in ran, f"{run}/{block} is said to have completed and never ran"
