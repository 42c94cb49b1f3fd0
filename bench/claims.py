"""What a claim costs while few runs wait, and while many do."""

from __future__ import annotations

import statistics
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import asyncpg
from headrace.service import Headrace
from headrace.store.queries import QUERIES

from bench.measures import commit_seconds
from bench.table import Figure

FEW, MANY = 100, 10_000
CLAIMED = 10
"""Runs that one claim takes."""
WARM_UP, CLAIMS = 10, 40
"""In each round, at each depth of the queue: claims that are not timed, and those that are."""
LEAST_ROUNDS = 3

QUEUE = """
WITH version AS (
    INSERT INTO headrace.pipeline_version (hash, pipeline, definition, blocks) VALUES ('bench', 'queued', '{}', '{}')
    ON CONFLICT (hash) DO UPDATE SET pipeline = 'queued' RETURNING hash
)
INSERT INTO headrace.run (project_id, pipeline, version)
SELECT $1, 'queued', version.hash FROM version, generate_series(1, $2::int)
"""
LEASE = "INSERT INTO headrace.service (id, host, pid, lease_until) VALUES ($1, 'bench', 0, now() + interval '1 minute')"


async def claims(headrace: Headrace, rounds: int) -> list[Figure]:
    """Claims of ten runs with 100 and with 10,000 queued, each rolled back: how much more the long queue costs.

    The statistics of the table know nothing of the queue yet, as after a real burst.
    """
    dsn = headrace.database.address.dsn
    floor = await commit_seconds(dsn)
    ratios, few, many = [], 0.0, 0.0
    for _ in range(max(rounds, LEAST_ROUNDS)):
        async with _queued(dsn, FEW) as queue:
            few = await _claim_seconds(*queue)
        async with _queued(dsn, MANY) as queue:
            many = await _claim_seconds(*queue)
        ratios.append(many / few)
    told = f"{few * 1000:.2f} ms with {FEW}, {many * 1000:.2f} ms with {MANY}; one commit {floor * 1000:.2f} ms"
    return [Figure(f"claim of {MANY} queued / {FEW}", statistics.median(ratios), "x", 1.5, told)]


@asynccontextmanager
async def _queued(dsn: str, depth: int) -> AsyncIterator[tuple[asyncpg.Connection[Any], int]]:
    """A project of its own with so many runs waiting, which nobody drives; gone at the end."""
    connection = await asyncpg.connect(dsn)
    try:
        project = await connection.fetchval(QUERIES["keep_project"], f"/bench/{uuid4()}", "queue")
        await connection.execute(QUEUE, project, depth)
        yield connection, project
        await connection.execute("DELETE FROM headrace.run WHERE project_id = $1", project)
        await connection.execute("VACUUM (ANALYZE) headrace.run")
    finally:
        await connection.close()


async def _claim_seconds(connection: asyncpg.Connection[Any], project: int) -> float:
    """The median time of a claim as an engine makes it: a look at the gates, then the claim itself."""
    times = []
    for _ in range(WARM_UP + CLAIMS):
        transaction = connection.transaction()
        await transaction.start()
        service = uuid4()
        await connection.execute(LEASE, service)
        began = time.perf_counter()
        await connection.fetchval(QUERIES["some_run_waits_for_admission"], project, None)
        claimed = await connection.fetch(QUERIES["claim_runs"], service, project, CLAIMED, None, [])
        times.append(time.perf_counter() - began)
        await transaction.rollback()
        assert len(claimed) == CLAIMED
    return statistics.median(times[WARM_UP:])
