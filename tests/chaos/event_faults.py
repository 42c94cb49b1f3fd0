"""Promises about events, triggers, limits and backfills, each as the query that finds what breaks it."""

from __future__ import annotations

LIVE = "('initial', 'running')"
ENDED = "('completed', 'failed', 'cancelled')"

EVENT_FAULTS = {
    "an event still waits for its batch": """
        SELECT f.event_id || ' for trigger ' || f.trigger_id FROM headrace.event_fate f WHERE f.fate = 'waiting'""",
    "the fate of an event that is not there": """
        SELECT f.event_id::text FROM headrace.event_fate f
        WHERE NOT EXISTS (SELECT FROM headrace.event e WHERE e.id = f.event_id)""",
    "a fate names a run that is not there, or is another trigger's": """
        SELECT f.event_id || ' in run ' || f.run_id FROM headrace.event_fate f
        WHERE f.run_id IS NOT NULL AND NOT EXISTS (SELECT FROM headrace.run r
            WHERE r.id = f.run_id AND r.trigger_id IS NOT DISTINCT FROM f.trigger_id)""",
    "a trigger's run was made of no event": """
        SELECT r.id::text FROM headrace.run r WHERE r.trigger_id IS NOT NULL
        AND NOT EXISTS (SELECT FROM headrace.event_fate f WHERE f.run_id = r.id)""",
    "a run was made of several events though its trigger gathers none": """
        SELECT r.id::text FROM headrace.run r LEFT JOIN headrace.trigger t ON t.id = r.trigger_id
        WHERE (t.definition ->> 'batch') IS NULL
        AND 1 < (SELECT count(*) FROM headrace.event_fate f WHERE f.run_id = r.id)""",
    "a run was handed more or fewer events than are recorded as its own": """
        SELECT r.id::text FROM headrace.run r JOIN headrace.trigger t ON t.id = r.trigger_id
        WHERE t.definition ->> 'batch' IS NOT NULL AND json_array_length(r.variables -> 'events')
           <> (SELECT count(*) FROM headrace.event_fate f WHERE f.run_id = r.id)""",
    "a trigger made two runs for one dedup key": """
        SELECT trigger_id || ' for ' || dedup_key FROM headrace.event_fate
        WHERE dedup_key IS NOT NULL AND fate = 'run' GROUP BY trigger_id, dedup_key HAVING count(*) > 1""",
    "an event was left out and nothing says why": """
        SELECT event_id::text FROM headrace.event_fate
        WHERE fate IN ('filtered', 'skipped', 'dead') AND COALESCE(reason, '') = ''""",
    "a run ended and has not become the event that a trigger listens for": """
        SELECT run_id::text FROM headrace.ended_run""",
    "a slot of a schedule became several events": """
        SELECT source || ' ' || occurred_at FROM headrace.event WHERE kind = 'slot' AND source LIKE 'schedule:%'
        AND replay_of IS NULL GROUP BY project_id, source, occurred_at HAVING count(*) > 1""",
    "a schedule has a slot behind the last one that it counts": """
        SELECT e.source || ' ' || max(e.occurred_at) FROM headrace.event e
        LEFT JOIN headrace.schedule_state s ON s.project_id = e.project_id AND s.source = e.source
        WHERE e.kind = 'slot' AND e.source LIKE 'schedule:%' AND e.replay_of IS NULL
        GROUP BY e.project_id, e.source, s.last_slot HAVING COALESCE(s.last_slot < max(e.occurred_at), true)""",
    "a sensor has more events than it says that it gave": """
        SELECT s.name FROM headrace.sensor s WHERE s.delivered < (SELECT count(*) FROM headrace.event e
            WHERE e.project_id = s.project_id AND e.source = 'sensor:' || s.name AND e.replay_of IS NULL)""",
    "a run's end became several events": """
        SELECT project_id || ' ' || (payload ->> 'run') FROM headrace.event
        WHERE source LIKE 'run:%' AND replay_of IS NULL
        GROUP BY project_id, payload ->> 'run' HAVING count(*) > 1""",
    "an ended run holds a place in a gate": f"""
        SELECT a.gate || ' by run ' || a.run_id FROM headrace.admission a
        WHERE NOT EXISTS (SELECT FROM headrace.run r WHERE r.id = a.run_id AND r.status IN {LIVE})""",
    "a run with gates started without having been admitted": """
        SELECT r.id::text FROM headrace.run r
        WHERE r.gates IS NOT NULL AND r.admitted_at IS NULL AND r.status IN ('running', 'completed')""",
    "more runs were active than their gate lets through": f"""
        WITH passage AS (
            SELECT g.gate, g.cap, r.started_at, r.finished_at
            FROM headrace.run r CROSS JOIN LATERAL unnest(r.gates, r.gate_caps) AS g (gate, cap)
            WHERE r.status IN {ENDED} AND r.admitted_at IS NOT NULL
        ), step AS (
            SELECT gate, cap, started_at AS at, 1 AS change FROM passage
            UNION ALL SELECT gate, cap, finished_at, -1 FROM passage
        ), active AS (
            SELECT gate, cap, sum(change) OVER (PARTITION BY gate ORDER BY at, change) AS runs FROM step
        )
        SELECT gate || ': ' || max(runs) || ' of ' || max(cap) FROM active GROUP BY gate HAVING max(runs) > max(cap)""",
    "a slot is held for a run that has ended": f"""
        SELECT s.pool || ' by run ' || s.run_id || ' block ' || s.block
        FROM headrace.slot s JOIN headrace.run r ON r.id = s.run_id WHERE r.status IN {ENDED}""",
    "more blocks ran than their pool has slots": """
        WITH holding AS (
            SELECT p.name, p.size, need.value::int AS slots, b.started_at, b.finished_at
            FROM headrace.run r
            JOIN headrace.pipeline_version v ON v.hash = r.version
            CROSS JOIN LATERAL json_array_elements(v.definition -> 'blocks') AS d
            CROSS JOIN LATERAL json_each_text(COALESCE(d -> 'pools', '{}')) AS need
            JOIN headrace.pool p ON p.project_id = r.project_id AND p.name = need.key
            JOIN headrace.block_run b ON b.run_id = r.id AND b.block = d ->> 'uuid'
            WHERE b.status = 'completed' AND b.kept_from IS NULL AND b.attempt = 1
        ), step AS (
            SELECT name, size, started_at AS at, slots AS change FROM holding
            UNION ALL SELECT name, size, finished_at, -slots FROM holding
        ), held AS (
            SELECT name, size, sum(change) OVER (PARTITION BY name ORDER BY at, change) AS slots FROM step
        )
        SELECT name || ': ' || max(slots) || ' of ' || max(size) FROM held GROUP BY name HAVING max(slots) > max(size)""",
    "a block needed slots of a pool that has no size": """
        SELECT DISTINCT r.id || '/' || (d ->> 'uuid') || ' of ' || need.key FROM headrace.run r
        JOIN headrace.pipeline_version v ON v.hash = r.version
        CROSS JOIN LATERAL json_array_elements(v.definition -> 'blocks') AS d
        CROSS JOIN LATERAL json_each_text(COALESCE(d -> 'pools', '{}')) AS need
        WHERE NOT EXISTS (SELECT FROM headrace.pool p WHERE p.project_id = r.project_id AND p.name = need.key)""",
    "a run is recorded for two intervals of backfills": """
        SELECT run_id::text FROM headrace.backfill_interval WHERE run_id IS NOT NULL GROUP BY run_id HAVING count(*) > 1""",
    "an interval's run is not for that interval": """
        SELECT i.backfill_id || '/' || i.position FROM headrace.backfill_interval i JOIN headrace.run r ON r.id = i.run_id
        WHERE r.execution_date <> i.start_at""",
    "an interval was made more often than it was tried": """
        SELECT i.backfill_id || '/' || i.position FROM headrace.backfill_interval i
        WHERE i.status = 'made' AND i.tries <> (SELECT count(*) FROM headrace.event e
            WHERE e.source = 'backfill:' || i.backfill_id AND split_part(e.key, '~', 1) = i.position::text)""",
    "an ended backfill has an interval that waits": f"""
        SELECT b.id || '/' || i.position FROM headrace.backfill b JOIN headrace.backfill_interval i ON i.backfill_id = b.id
        WHERE b.status IN {ENDED} AND i.status = 'waiting'""",
    "a backfill has not ended": "SELECT id::text FROM headrace.backfill WHERE status = 'running'",
}
"""What is broken to the query that finds it; each gives one text a breach."""
