"""Reads a database's history and tells every promise that it breaks. Any test may call it; it changes nothing."""

from __future__ import annotations

import json
from typing import Any

import asyncpg

from tests.chaos.event_faults import EVENT_FAULTS

ENDED = "('completed', 'failed', 'cancelled')"
TERMINAL = "('completed', 'failed', 'cancelled', 'upstream_failed', 'condition_failed')"

FAULTS = {
    "a run has not ended": "SELECT id::text FROM headrace.run WHERE status IN ('initial', 'running')",
    "an ended run has an owner": f"SELECT id::text FROM headrace.run WHERE status IN {ENDED} AND owner IS NOT NULL",
    "an ended run never began": f"SELECT id::text FROM headrace.run WHERE status IN {ENDED} AND started_at IS NULL",
    "a block of an ended run has not ended": f"""
        SELECT b.run_id || '/' || b.block FROM headrace.block_run b JOIN headrace.run r ON r.id = b.run_id
        WHERE r.status IN {ENDED} AND (b.status NOT IN {TERMINAL} OR b.callbacks_due OR b.waiting)""",
    "a completed run has a block that ended badly": """
        SELECT b.run_id || '/' || b.block FROM headrace.block_run b JOIN headrace.run r ON r.id = b.run_id
        WHERE r.status = 'completed' AND b.status IN ('failed', 'cancelled', 'upstream_failed')""",
    "a failed run tells no reason": "SELECT id::text FROM headrace.run WHERE status = 'failed' AND reason IS NULL",
    "a block ended after its run": """
        SELECT b.run_id || '/' || b.block FROM headrace.block_run b JOIN headrace.run r ON r.id = b.run_id
        WHERE b.finished_at > r.finished_at""",
    "a block that was never started has ended well": """
        SELECT run_id || '/' || block FROM headrace.block_run
        WHERE status IN ('completed', 'failed') AND kept_from IS NULL AND started_at IS NULL""",
    "a block is kept from a run in which it did not complete": """
        SELECT b.run_id || '/' || b.block FROM headrace.block_run b WHERE b.kept_from IS NOT NULL AND NOT EXISTS (
            SELECT FROM headrace.block_run k
            WHERE k.run_id = b.kept_from AND k.block = b.block AND k.status = 'completed')""",
    "a completed block has not exactly one completed attempt": """
        SELECT b.run_id || '/' || b.block FROM headrace.block_run b
        WHERE b.status = 'completed' AND b.kept_from IS NULL AND 1 <> (SELECT count(*) FROM headrace.attempt a
            WHERE a.run_id = b.run_id AND a.block = b.block AND a.outcome = 'completed')""",
    "an attempt completed and its block did not": """
        SELECT a.run_id || '/' || a.block FROM headrace.attempt a JOIN headrace.block_run b USING (run_id, block)
        WHERE a.outcome = 'completed' AND b.status <> 'completed'""",
    "an attempt came after the one that completed": """
        SELECT a.run_id || '/' || a.block FROM headrace.attempt a JOIN headrace.attempt c USING (run_id, block)
        WHERE c.outcome = 'completed' AND a.number > c.number""",
    "an attempt is missing from the record, or too many are in it": f"""
        SELECT b.run_id || '/' || b.block FROM headrace.block_run b JOIN headrace.run r ON r.id = b.run_id
        WHERE r.status IN {ENDED} AND (
            b.attempt <> (SELECT count(*) FROM headrace.attempt a WHERE a.run_id = b.run_id AND a.block = b.block)
            OR b.attempt <> (SELECT COALESCE(max(number), 0) FROM headrace.attempt a
                             WHERE a.run_id = b.run_id AND a.block = b.block))""",
    "an attempt was recorded under an older token than the one before it": """
        SELECT a.run_id || '/' || a.block || '/' || a.number FROM headrace.attempt a
        JOIN headrace.attempt b ON (b.run_id, b.block, b.number) = (a.run_id, a.block, a.number - 1)
        WHERE b.fence > a.fence OR b.finished_at > a.finished_at""",
    "an attempt was recorded under a token that its run never had": """
        SELECT a.run_id || '/' || a.block FROM headrace.attempt a JOIN headrace.run r ON r.id = a.run_id
        WHERE a.fence > r.fence OR a.fence < 1""",
    "an output belongs to no attempt that completed": """
        SELECT o.run_id || '/' || o.block FROM headrace.output o JOIN headrace.block_run b USING (run_id, block)
        WHERE b.kept_from IS NULL AND NOT EXISTS (SELECT FROM headrace.attempt a WHERE a.run_id = o.run_id
            AND a.block = o.block AND a.number = o.attempt AND a.outcome = 'completed')""",
    "a block's outputs are not numbered from 0 without a gap": """
        SELECT run_id || '/' || block FROM headrace.output
        GROUP BY run_id, block HAVING max(position) <> count(*) - 1 OR count(DISTINCT attempt) <> 1""",
    "a kept block has not the outputs of the run that it is kept from": """
        SELECT b.run_id || '/' || b.block FROM headrace.block_run b WHERE b.kept_from IS NOT NULL
        AND (SELECT count(*) FROM headrace.output o WHERE o.run_id = b.run_id AND o.block = b.block)
         <> (SELECT count(*) FROM headrace.output o WHERE o.run_id = b.kept_from AND o.block = b.block)""",
    "an output's blob lacks parts or bytes": """
        SELECT o.run_id || '/' || o.block FROM headrace.output o JOIN headrace.blob b ON b.id = o.blob
        WHERE (SELECT count(*) FROM headrace.blob_part p WHERE p.blob = b.id) <> b.parts
        OR (SELECT sum(length(content)) FROM headrace.blob_part p WHERE p.blob = b.id) <> b.bytes
        OR o.bytes <> b.bytes""",
    "a log has a gap": """
        SELECT run_id || '/' || block || '/' || attempt || ' under token ' || fence FROM headrace.log_line
        GROUP BY run_id, block, attempt, fence HAVING max(seq) <> count(*) OR min(seq) <> 1""",
}

ORPHANS = """
SELECT b.id::text FROM headrace.blob b WHERE NOT EXISTS (SELECT FROM headrace.output o WHERE o.blob = b.id)
"""


async def faults(connection: asyncpg.Connection[Any]) -> list[str]:
    """Every promise that the history in this database breaks, with the ids; an empty list is what one hopes for."""
    found = []
    for name, query in (FAULTS | EVENT_FAULTS).items():
        found += [f"{name}: {row[0]}" for row in await connection.fetch(query)]
    return found + await _early_starts(connection)


async def orphan_blobs(connection: asyncpg.Connection[Any]) -> list[str]:
    """Blobs without an output: what is left of attempts that were killed, until a sweep."""
    return [row[0] for row in await connection.fetch(ORPHANS)]


async def _early_starts(connection: asyncpg.Connection[Any]) -> list[str]:
    """Blocks that started before a block upstream of them had finished."""
    rows = await connection.fetch(
        "SELECT r.id, v.definition::text AS definition FROM headrace.run r "
        "JOIN headrace.pipeline_version v ON v.hash = r.version"
    )
    found = []
    for row in rows:
        found += await _early_in_run(connection, row["id"], row["definition"])
    return found


async def _early_in_run(connection: asyncpg.Connection[Any], run: int, definition: str) -> list[str]:
    value = json.loads(definition) if isinstance(definition, str) else definition
    rows = await connection.fetch(
        "SELECT block, started_at, finished_at, status, kept_from FROM headrace.block_run WHERE run_id = $1", run
    )
    times = {row["block"]: row for row in rows}
    return [
        f"a block started before its upstream block finished: {run}/{block['uuid']} before {above}"
        for block in value.get("blocks", [])
        for above in block["upstream"]
        if times[block["uuid"]]["started_at"] is not None
        and times[above]["kept_from"] is None
        and (times[above]["status"] != "completed" or times[block["uuid"]]["started_at"] < times[above]["finished_at"])
    ]
