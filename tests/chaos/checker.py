"""Reads a database's history and tells every promise that it breaks. Any test may call it; it changes nothing."""

from __future__ import annotations

from typing import Any

import asyncpg

TERMINAL = "('completed', 'failed', 'cancelled', 'upstream_failed', 'condition_failed')"

FAULTS = {
    "a run has not ended": "SELECT id::text FROM headrace.run WHERE status IN ('initial', 'running')",
    "an ended run has an owner": (
        "SELECT id::text FROM headrace.run WHERE status IN ('completed', 'failed', 'cancelled') AND owner IS NOT NULL"
    ),
    "a block of an ended run has not ended": (
        "SELECT b.run_id || '/' || b.block FROM headrace.block_run b JOIN headrace.run r ON r.id = b.run_id "
        f"WHERE r.status IN ('completed', 'failed', 'cancelled') AND b.status NOT IN {TERMINAL}"
    ),
    "a completed run has a failed or cancelled block": (
        "SELECT b.run_id || '/' || b.block FROM headrace.block_run b JOIN headrace.run r ON r.id = b.run_id "
        "WHERE r.status = 'completed' AND b.status IN ('failed', 'cancelled', 'upstream_failed')"
    ),
    "a completed block has not exactly one completed attempt": (
        "SELECT b.run_id || '/' || b.block FROM headrace.block_run b "
        "WHERE b.status = 'completed' AND b.kept_from IS NULL AND 1 <> (SELECT count(*) FROM headrace.attempt a "
        "WHERE a.run_id = b.run_id AND a.block = b.block AND a.outcome = 'completed')"
    ),
    "an attempt came after the one that completed": (
        "SELECT a.run_id || '/' || a.block FROM headrace.attempt a JOIN headrace.attempt c USING (run_id, block) "
        "WHERE c.outcome = 'completed' AND a.number > c.number"
    ),
    "an output belongs to another attempt than the one that completed": (
        "SELECT o.run_id || '/' || o.block FROM headrace.output o JOIN headrace.block_run b USING (run_id, block) "
        "WHERE b.kept_from IS NULL AND NOT EXISTS (SELECT FROM headrace.attempt a WHERE a.run_id = o.run_id "
        "AND a.block = o.block AND a.number = o.attempt AND a.outcome = 'completed')"
    ),
    "an output's blob lacks parts or bytes": (
        "SELECT o.run_id || '/' || o.block FROM headrace.output o JOIN headrace.blob b ON b.id = o.blob "
        "WHERE (SELECT count(*) FROM headrace.blob_part p WHERE p.blob = b.id) <> b.parts "
        "OR (SELECT sum(length(content)) FROM headrace.blob_part p WHERE p.blob = b.id) <> b.bytes"
    ),
}


async def faults(connection: asyncpg.Connection[Any]) -> list[str]:
    """Every promise that the history in this database breaks, with the ids; an empty list is what one hopes for."""
    found = []
    for name, query in FAULTS.items():
        found += [f"{name}: {row[0]}" for row in await connection.fetch(query)]
    return found + await _early_starts(connection)


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
    import json

    value = json.loads(definition) if isinstance(definition, str) else definition
    rows = await connection.fetch(
        "SELECT block, started_at, finished_at, kept_from FROM headrace.block_run WHERE run_id = $1", run
    )
    times = {row["block"]: row for row in rows}
    return [
        f"a block started before its upstream block finished: {run}/{block['uuid']} before {above}"
        for block in value["blocks"]
        for above in block["upstream"]
        if times[block["uuid"]]["started_at"] is not None
        and times[above]["kept_from"] is None
        and (times[above]["finished_at"] is None or times[block["uuid"]]["started_at"] < times[above]["finished_at"])
    ]
