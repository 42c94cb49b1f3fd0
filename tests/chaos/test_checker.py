"""The checker finds what it says that it finds: a small good history is broken in one way at a time."""

from __future__ import annotations

import pytest
from headrace.store.database import Database

from tests.chaos.checker import FAULTS, faults
from tests.chaos.event_faults import EVENT_FAULTS

GOOD = """
INSERT INTO headrace.project (path, name) VALUES ('/p', 'p');
INSERT INTO headrace.pipeline_version (hash, pipeline, definition, blocks)
VALUES ('v', 'p', '{"blocks": [{"uuid": "b", "upstream": [], "pools": {"press": 1}}]}', '{b}');
INSERT INTO headrace.pool VALUES (1, 'press', 1);
INSERT INTO headrace.trigger (project_id, pipeline, name, kind, origin, source, status, definition)
VALUES (1, 'p', 'single', 'webhook', 'file', 'webhook:s', 'active', '{}'),
       (1, 'p', 'batch', 'webhook', 'file', 'webhook:b', 'active', '{"batch": {"delay": 1}}');
INSERT INTO headrace.event (project_id, source, kind, key, payload, occurred_at)
SELECT 1, s, 'k', n::text, json_build_object('run', n), now()
FROM (VALUES ('webhook:s', 1), ('webhook:s', 2), ('webhook:b', 3), ('webhook:b', 4), ('backfill:1', 1)) AS g (s, n);
INSERT INTO headrace.run (project_id, pipeline, version, status, trigger_id, variables, gates, gate_caps, fence,
                          execution_date, admitted_at, started_at, finished_at)
SELECT 1, 'p', 'v', 'completed', t, v::json, g, c, 1, '2026-01-01', '2026-01-01', f::timestamptz, u::timestamptz
FROM (VALUES (1, '{}', '{gate}'::text[], '{1}'::int[], '2026-01-01 00:00', '2026-01-01 00:10'),
             (1, '{}', '{gate}', '{1}', '2026-01-01 00:10', '2026-01-01 00:20'),
             (2, '{"events": [3, 4]}', NULL, NULL, '2026-01-01 00:20', '2026-01-01 00:30'),
             (NULL, '{}', NULL, NULL, '2026-01-01 00:30', '2026-01-01 00:40')) AS r (t, v, g, c, f, u);
INSERT INTO headrace.block_run (run_id, block, position, status, attempt, started_at, finished_at)
SELECT id, 'b', 0, 'completed', 1, started_at, finished_at FROM headrace.run;
INSERT INTO headrace.attempt (run_id, block, number, outcome, service, fence, started_at, finished_at)
SELECT run_id, block, 1, 'completed', gen_random_uuid(), 1, started_at, finished_at FROM headrace.block_run;
INSERT INTO headrace.event_fate (event_id, trigger_id, fate, run_id, dedup_key)
VALUES (1, 1, 'run', 1, 'a'), (2, 1, 'run', 2, NULL), (3, 2, 'run', 3, NULL), (4, 2, 'run', 3, NULL),
       (5, NULL, 'run', 4, NULL);
INSERT INTO headrace.backfill (project_id, pipeline, name, start_at, end_at, every, reprocess, run_order, concurrency,
                               priority, status, finished_at)
VALUES (1, 'p', 'n', now(), now(), '1 hour', 'all', 'forwards', 1, 0, 'completed', now());
INSERT INTO headrace.backfill_interval VALUES (1, 1, '2026-01-01', '2026-01-02', 'made', NULL, 1, 4);
INSERT INTO headrace.event (project_id, source, kind, key, occurred_at) VALUES
    (1, 'schedule:p/s', 'slot', '1', '2026-01-01'), (1, 'schedule:p/s', 'slot', '2', '2026-01-02'),
    (1, 'sensor:s', 'sensor', '1', now());
INSERT INTO headrace.schedule_state (project_id, source, pattern, last_slot) VALUES (1, 'schedule:p/s', '', '2026-01-02');
INSERT INTO headrace.sensor (project_id, name, settings, delivered) VALUES (1, 's', '{}', 1);
"""

BREACHES = {
    "an event still waits for its batch": "UPDATE headrace.event_fate SET fate = 'waiting', run_id = NULL WHERE event_id = 4",
    "the fate of an event that is not there": "DELETE FROM headrace.event WHERE id = 1",
    "a fate names a run that is not there, or is another trigger's": "UPDATE headrace.event_fate SET run_id = 3 WHERE event_id = 1",
    "a trigger's run was made of no event": "DELETE FROM headrace.event_fate WHERE run_id = 1",
    "a run was made of several events though its trigger gathers none": "UPDATE headrace.event_fate SET run_id = 1 WHERE event_id = 2",
    "a run was handed more or fewer events than are recorded as its own": "UPDATE headrace.run SET variables = '{\"events\": [3]}' WHERE id = 3",
    "a trigger made two runs for one dedup key": """
        DROP INDEX headrace.event_fate_once_by_key; UPDATE headrace.event_fate SET dedup_key = 'a' WHERE event_id = 2""",
    "an event was left out and nothing says why": "INSERT INTO headrace.event_fate (event_id, trigger_id, fate) VALUES (3, 1, 'dead')",
    "a run ended and has not become the event that a trigger listens for": "INSERT INTO headrace.ended_run VALUES (1)",
    "a slot of a schedule became several events": "UPDATE headrace.event SET occurred_at = '2026-01-02' WHERE kind = 'slot'",
    "a schedule has a slot behind the last one that it counts": "UPDATE headrace.schedule_state SET last_slot = '2026-01-01'",
    "a sensor has more events than it says that it gave": "UPDATE headrace.sensor SET delivered = 0",
    "a run's end became several events": """
        INSERT INTO headrace.event (project_id, source, kind, key, payload, occurred_at)
        VALUES (1, 'run:p', 'completed', '1', '{"run": 1}', now()), (1, 'run:p', 'completed', '1b', '{"run": 1}', now())""",
    "an ended run holds a place in a gate": "INSERT INTO headrace.admission VALUES ('gate', 1)",
    "a run with gates started without having been admitted": "UPDATE headrace.run SET admitted_at = NULL WHERE id = 1",
    "more runs were active than their gate lets through": "UPDATE headrace.run SET finished_at = '2026-01-01 00:10:00.001' WHERE id = 1",
    "a slot is held for a run that has ended": """
        INSERT INTO headrace.slot (run_id, block, pool, project_id, fence, slots, rank)
        VALUES (1, 'b', 'press', 1, 1, 1, now())""",
    "more blocks ran than their pool has slots": "UPDATE headrace.block_run SET finished_at = '2026-01-01 00:10:00.001' WHERE run_id = 1",
    "a block needed slots of a pool that has no size": "DELETE FROM headrace.pool",
    "a run is recorded for two intervals of backfills": "INSERT INTO headrace.backfill_interval VALUES (1, 2, '2026-01-01', '2026-01-02', 'made', NULL, 1, 4)",
    "an interval's run is not for that interval": "UPDATE headrace.backfill_interval SET start_at = '2026-01-03'",
    "an interval was made more often than it was tried": "UPDATE headrace.backfill_interval SET tries = 2",
    "an ended backfill has an interval that waits": "UPDATE headrace.backfill_interval SET status = 'waiting'",
    "a backfill has not ended": "UPDATE headrace.backfill SET status = 'running', finished_at = NULL",
}  # fmt: skip


RUN_BREACHES = {
    "a run has not ended": "UPDATE headrace.run SET status = 'running', finished_at = NULL WHERE id = 1",
    "an ended run has an owner": "UPDATE headrace.run SET owner = gen_random_uuid() WHERE id = 1",
    "an ended run never began": "UPDATE headrace.run SET started_at = NULL WHERE id = 1",
    "a block of an ended run has not ended": "UPDATE headrace.block_run SET status = 'queued' WHERE run_id = 1",
    "a completed run has a block that ended badly": "UPDATE headrace.block_run SET status = 'failed' WHERE run_id = 1",
    "a failed run tells no reason": "UPDATE headrace.run SET status = 'failed' WHERE id = 1",
    "a block ended after its run": "UPDATE headrace.block_run SET finished_at = '2026-02-01' WHERE run_id = 1",
    "a block that was never started has ended well": "UPDATE headrace.block_run SET started_at = NULL WHERE run_id = 1",
    "a block is kept from a run in which it did not complete": "UPDATE headrace.block_run SET kept_from = 99 WHERE run_id = 1",
    "a completed block has not exactly one completed attempt": "UPDATE headrace.attempt SET outcome = 'failed' WHERE run_id = 1",
    "an attempt completed and its block did not": "UPDATE headrace.block_run SET status = 'cancelled' WHERE run_id = 1",
    "an attempt came after the one that completed": """
        INSERT INTO headrace.attempt SELECT run_id, block, 2, 'failed', NULL, NULL, service, fence, started_at, finished_at
        FROM headrace.attempt WHERE run_id = 1""",
    "an attempt is missing from the record, or too many are in it": "UPDATE headrace.block_run SET attempt = 2 WHERE run_id = 1",
    "an attempt was recorded under an older token than the one before it": """
        INSERT INTO headrace.attempt SELECT run_id, block, 0, 'lost', NULL, NULL, service, 2, started_at, finished_at
        FROM headrace.attempt WHERE run_id = 1""",
    "an attempt was recorded under a token that its run never had": "UPDATE headrace.attempt SET fence = 7 WHERE run_id = 1",
    "an output belongs to no attempt that completed": """
        INSERT INTO headrace.output (run_id, block, position, attempt, codec, bytes, content) VALUES (1, 'b', 0, 2, 'json', 1, '1')""",
    "a block's outputs are not numbered from 0 without a gap": """
        INSERT INTO headrace.output (run_id, block, position, attempt, codec, bytes, content) VALUES (1, 'b', 1, 1, 'json', 1, '1')""",
    "a kept block has not the outputs of the run that it is kept from": """
        INSERT INTO headrace.output (run_id, block, position, attempt, codec, bytes, content) VALUES (1, 'b', 0, 1, 'json', 1, '1');
        UPDATE headrace.block_run SET kept_from = 1 WHERE run_id = 2""",
    "an output's blob lacks parts or bytes": """
        INSERT INTO headrace.blob (id, run_id, bytes, parts) VALUES ('00000000-0000-0000-0000-000000000001', 1, 5, 1);
        INSERT INTO headrace.output (run_id, block, position, attempt, codec, bytes, blob)
        VALUES (1, 'b', 0, 1, 'json', 5, '00000000-0000-0000-0000-000000000001')""",
    "a log has a gap": """
        INSERT INTO headrace.log_line (run_id, block, attempt, fence, seq, at, stream, level, text)
        VALUES (1, 'b', 1, 1, 1, now(), 'log', 'INFO', ''), (1, 'b', 1, 1, 3, now(), 'log', 'INFO', '')""",
    "a block started before its upstream block finished": """
        UPDATE headrace.pipeline_version SET definition =
            '{"blocks": [{"uuid": "b", "upstream": ["a"]}, {"uuid": "a", "upstream": []}]}';
        INSERT INTO headrace.block_run (run_id, block, position, status, attempt, started_at, finished_at)
        SELECT id, 'a', 1, 'completed', 1, started_at, finished_at FROM headrace.run""",
}  # fmt: skip


async def found_after(database: Database, breach: str) -> list[str]:
    async with database.connection() as connection:
        await connection.execute("SET session_replication_role = replica")  # the database itself would refuse some
        await connection.execute(GOOD)
        await connection.execute(breach)
        try:
            return [fault.rpartition(": ")[0] or fault for fault in await faults(connection)]
        finally:
            await connection.execute("RESET session_replication_role")


async def test_a_good_history_has_no_fault(database: Database):
    assert await found_after(database, "SELECT 1") == []


def test_each_promise_has_its_breach():
    assert BREACHES.keys() == EVENT_FAULTS.keys()
    assert RUN_BREACHES.keys() - FAULTS.keys() == {"a block started before its upstream block finished"}
    assert FAULTS.keys() <= RUN_BREACHES.keys()


@pytest.mark.parametrize("promise", BREACHES | RUN_BREACHES)
async def test_a_broken_promise_is_found(database: Database, promise: str):
    found = await found_after(database, (BREACHES | RUN_BREACHES)[promise])
    assert any(told.startswith(promise) for told in found), found
