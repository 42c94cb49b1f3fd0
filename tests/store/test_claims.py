"""A claim takes a project's runs in their order, and costs no more behind a long queue."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import asyncpg
from headrace.store.database import Database
from headrace.store.queries import QUERIES

QUEUE = """
INSERT INTO headrace.run (project_id, pipeline, version, rank)
SELECT $1, 'p', 'v', now() - n * interval '1 second' FROM generate_series(1, $2::int) AS n
"""
LEASE = "INSERT INTO headrace.service (id, host, pid, lease_until) VALUES ($1, 'h', 1, now() + interval '1 hour')"


async def queued(connection: asyncpg.Connection[Any], name: str, depth: int) -> int:
    """A project with so many runs waiting, the newest first; the statistics know nothing of them."""
    project: int = await connection.fetchval(QUERIES["keep_project"], f"/{name}", name)
    await connection.execute(QUERIES["keep_version"], "v", "p", "{}", [])
    await connection.execute(QUEUE, project, depth)
    return project


async def test_a_claim_takes_the_first_of_its_own_project(database: Database):
    async with database.connection() as connection:
        await queued(connection, "other", 50)
        project = await queued(connection, "own", 20)
        service = uuid4()
        await connection.execute(LEASE, service)
        claimed = await connection.fetch(QUERIES["claim_runs"], service, project, 5, None, [])
        assert sorted(row["id"] for row in claimed) == list(range(66, 71))


async def test_a_claim_reads_no_further_into_a_queue_than_it_takes(database: Database):
    async with database.connection() as connection:
        await connection.execute("ANALYZE headrace.run")
        await queued(connection, "other", 3000)
        project = await queued(connection, "own", 3000)
        service = uuid4()
        await connection.execute(LEASE, service)
        await connection.execute("SET plan_cache_mode = force_generic_plan")
        sql = QUERIES["claim_runs"].strip().rstrip(";")
        await connection.execute(f"PREPARE claim (uuid, bigint, int, bigint[], bigint[]) AS {sql}")
        rows = await connection.fetch(f"EXPLAIN (ANALYZE) EXECUTE claim ('{service}', {project}, 10, NULL, '{{}}')")
        await connection.execute("DEALLOCATE claim; RESET plan_cache_mode")
    plan = "\n".join(row[0] for row in rows)
    assert "Index Scan using run_live" in plan, plan
    assert "Sort" not in plan, plan
    assert "rows=3000 loops" not in plan, plan
