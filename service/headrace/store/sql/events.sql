-- name: accept_events
-- Record events and, in the same statement, what each trigger makes of those that are new: fates, runs and their blocks.
-- Services that have room hold from the beginning the first runs of theirs that have no gate to pass.
WITH claimant AS (
    SELECT c.project_id, c.service, c.room
    FROM unnest($23::bigint[], $24::uuid[], $25::int[]) AS c (project_id, service, room)
    JOIN headrace.service AS s ON s.id = c.service AND s.lease_until > now()
), given AS (
    SELECT * FROM unnest(
        $1::bigint[], $2::text[], $3::text[], $4::text[], $5::json[], $6::json[], $7::bytea[], $8::timestamptz[],
        $9::bigint[], $26::json[], $27::timestamptz[]
    ) AS g (project_id, source, kind, key, payload, headers, body, occurred_at, replay_of, variables, execution_date)
), fresh AS (
    INSERT INTO headrace.event (project_id, source, kind, key, payload, headers, body, occurred_at, replay_of, variables,
                                execution_date)
    SELECT project_id, source, kind, key, payload, headers, body, COALESCE(occurred_at, now()), replay_of, variables,
           execution_date
    FROM given
    ON CONFLICT (project_id, source, key) DO NOTHING
    RETURNING id, project_id, source, key
), planned AS (
    SELECT f.id AS event_id, f.project_id, p.trigger_id, p.dedup_key, p.pipeline, p.version, p.variables,
           p.priority, p.execution_date, p.gates,
           CASE WHEN d.repeated THEN 'skipped' ELSE p.fate END AS fate,
           CASE WHEN d.repeated THEN 'an earlier event gave the same dedup_key' ELSE p.reason END AS reason,
           CASE WHEN p.fate = 'run' AND NOT d.repeated THEN nextval('headrace.run_id_seq') END AS run_id
    FROM unnest(
        $10::bigint[], $11::text[], $12::text[], $13::bigint[], $14::text[], $15::text[], $16::text[], $17::text[],
        $18::text[], $19::json[], $20::int[], $21::timestamptz[], $22::json[]
    ) AS p (project_id, source, key, trigger_id, fate, reason, dedup_key, pipeline, version, variables, priority,
            execution_date, gates)
    JOIN fresh AS f ON f.project_id = p.project_id AND f.source = p.source AND f.key = p.key
    CROSS JOIN LATERAL (
        SELECT p.dedup_key IS NOT NULL AND EXISTS (
            SELECT FROM headrace.event_fate AS e
            WHERE e.trigger_id = p.trigger_id AND e.dedup_key = p.dedup_key AND e.fate IN ('run', 'waiting')
        ) AS repeated
    ) AS d
), claimed AS (
    SELECT p.run_id, c.service
    FROM claimant AS c
    CROSS JOIN LATERAL (
        SELECT p.run_id FROM planned AS p
        WHERE p.project_id = c.project_id AND p.run_id IS NOT NULL AND p.gates IS NULL AND p.priority >= 0
        ORDER BY p.priority DESC, p.run_id LIMIT c.room
    ) AS p
), made AS (
    INSERT INTO headrace.run (id, project_id, pipeline, version, variables, priority, execution_date, trigger_id, rank,
                              gates, gate_caps, owner, fence)
    OVERRIDING SYSTEM VALUE
    SELECT p.run_id, p.project_id, p.pipeline, p.version, p.variables, p.priority, COALESCE(p.execution_date, now()),
           p.trigger_id, now() - p.priority * interval '10 minutes',
           CASE WHEN p.gates IS NOT NULL THEN ARRAY(SELECT json_object_keys(p.gates)) END,
           CASE WHEN p.gates IS NOT NULL THEN ARRAY(SELECT value::int FROM json_each_text(p.gates)) END,
           c.service, CASE WHEN c.service IS NULL THEN 0 ELSE 1 END
    FROM planned AS p LEFT JOIN claimed AS c ON c.run_id = p.run_id
    WHERE p.run_id IS NOT NULL
), held AS (
    INSERT INTO headrace.run_step (run_id, fence) SELECT run_id, 1 FROM claimed
), blocks AS (
    INSERT INTO headrace.block_run (run_id, block, position)
    SELECT p.run_id, b.block, b.position - 1
    FROM planned AS p
    JOIN headrace.pipeline_version AS v ON v.hash = p.version
    CROSS JOIN LATERAL unnest(v.blocks) WITH ORDINALITY AS b (block, position)
    WHERE p.run_id IS NOT NULL
), decided AS (
    INSERT INTO headrace.event_fate (event_id, trigger_id, fate, reason, dedup_key, run_id)
    SELECT event_id, trigger_id, fate, reason, dedup_key, run_id FROM planned
)
SELECT f.project_id, f.source, f.key, f.id AS event_id, p.trigger_id, p.fate, p.reason, p.run_id,
       c.run_id IS NOT NULL AS claimed, now() AS now
FROM fresh AS f LEFT JOIN planned AS p ON p.event_id = f.id LEFT JOIN claimed AS c ON c.run_id = p.run_id
ORDER BY f.id, p.run_id;

-- name: known_events
-- Events that were accepted before, by their keys, each with its fates.
SELECT e.project_id, e.source, e.key, e.id AS event_id, f.trigger_id, f.fate, f.reason, f.run_id
FROM unnest($1::bigint[], $2::text[], $3::text[]) AS g (project_id, source, key)
JOIN headrace.event AS e ON e.project_id = g.project_id AND e.source = g.source AND e.key = g.key
LEFT JOIN headrace.event_fate AS f ON f.event_id = e.id
ORDER BY e.id, f.run_id;

-- name: lock_triggers
-- Let nobody else make runs for these triggers until the transaction ends.
SELECT id FROM headrace.trigger WHERE id = ANY ($1::bigint[]) ORDER BY id FOR UPDATE;

-- name: active_runs_of_triggers
-- Runs of some triggers that have not ended, the oldest first.
SELECT trigger_id, id FROM headrace.run
WHERE trigger_id = ANY ($1::bigint[]) AND status IN ('initial', 'running') ORDER BY id;

-- name: cancel_runs
-- Ask for the cancel of several runs.
UPDATE headrace.run SET cancel_requested_at = COALESCE(cancel_requested_at, now())
WHERE id = ANY ($1::bigint[]) AND status IN ('initial', 'running');

-- name: waiting_batches
-- Each trigger of a project with events that wait for their batch: how many, since when, until when the last came.
SELECT trigger_id, count(*) AS waiting, min(decided_at) AS first_at, max(decided_at) AS last_at, now() AS now
FROM headrace.event_fate
WHERE fate = 'waiting' AND trigger_id = ANY ($1::bigint[])
GROUP BY trigger_id;

-- name: waits_of_triggers
-- Some triggers with events that wait: how they stand, how many wait, since when and until when the last came.
SELECT t.id AS trigger_id, t.status, t.reason, t.definition, count(*) AS waiting, min(f.decided_at) AS first_at,
       max(f.decided_at) AS last_at, now() AS now
FROM headrace.trigger AS t JOIN headrace.event_fate AS f ON f.trigger_id = t.id AND f.fate = 'waiting'
WHERE t.id = ANY ($1::bigint[])
GROUP BY t.id;

-- name: lock_trigger_now
-- Take a trigger's lock only if nobody has it.
SELECT id FROM headrace.trigger WHERE id = $1 FOR UPDATE SKIP LOCKED;

-- name: waiting_events
-- The events that wait for a trigger's batch, the first first.
SELECT e.id, e.key, e.kind, e.source, e.payload, e.headers, e.occurred_at
FROM headrace.event_fate AS f JOIN headrace.event AS e ON e.id = f.event_id
WHERE f.trigger_id = $1 AND f.fate = 'waiting'
ORDER BY e.id LIMIT $2
FOR UPDATE OF f;

-- name: make_batch_run
-- One run for a batch: the run, its blocks, and the fate of each of its events, in one statement.
WITH made AS (
    INSERT INTO headrace.run (project_id, pipeline, version, variables, priority, trigger_id, rank, gates, gate_caps)
    VALUES ($1, $2, $3, $4, $5, $6, now() - $5::int * interval '10 minutes', $8, $9)
    RETURNING id
), blocks AS (
    INSERT INTO headrace.block_run (run_id, block, position)
    SELECT made.id, b.block, b.position - 1
    FROM made, headrace.pipeline_version AS v
    CROSS JOIN LATERAL unnest(v.blocks) WITH ORDINALITY AS b (block, position)
    WHERE v.hash = $3
), decided AS (
    UPDATE headrace.event_fate AS f SET fate = 'run', run_id = made.id, decided_at = now()
    FROM made WHERE f.trigger_id = $6 AND f.event_id = ANY ($7::bigint[]) AND f.fate = 'waiting'
)
SELECT id FROM made;

-- name: left_waiting
-- The triggers of some projects ($1), but for those that gather events ($2), for which events wait; and since how many
-- seconds those are removed whose reason ($3) tells so.
SELECT t.id AS trigger_id,
       CASE WHEN t.status = 'inactive' AND t.reason = ANY ($3::text[])
            THEN EXTRACT(EPOCH FROM now() - t.updated_at)::float8 END AS removed_for
FROM headrace.trigger AS t
WHERE t.project_id = ANY ($1::bigint[]) AND t.id <> ALL ($2::bigint[])
  AND EXISTS (SELECT FROM headrace.event_fate AS f WHERE f.trigger_id = t.id AND f.fate = 'waiting')
ORDER BY t.id;

-- name: bury_left_waiting
-- Make dead letters of the events that wait for a trigger, if it is removed still.
UPDATE headrace.event_fate AS f SET fate = 'dead', reason = $3, decided_at = now()
WHERE f.trigger_id = $1 AND f.fate = 'waiting'
  AND EXISTS (SELECT FROM headrace.trigger AS t WHERE t.id = $1 AND t.status = 'inactive' AND t.reason = ANY ($2::text[]))
RETURNING f.event_id;

-- name: waiting_for_backfill
-- Events that wait for some triggers' backfills to be made, the first first; others take others.
SELECT f.trigger_id, e.id, e.key, e.kind, e.source, e.payload, e.headers, e.occurred_at
FROM headrace.event_fate AS f JOIN headrace.event AS e ON e.id = f.event_id
WHERE f.fate = 'waiting' AND f.trigger_id = ANY ($1::bigint[])
ORDER BY f.event_id LIMIT $2 FOR UPDATE OF f SKIP LOCKED;

-- name: end_waiting
-- Give events that waited for a trigger's batch a final fate that makes no run.
UPDATE headrace.event_fate SET fate = $3, reason = $4, decided_at = now()
WHERE trigger_id = $1 AND event_id = ANY ($2::bigint[]) AND fate = 'waiting';

-- name: newest_events
-- A page of some projects' events, newest first, before an id.
SELECT e.id, e.project_id, e.source, e.kind, e.key, e.occurred_at, e.received_at, e.replay_of
FROM headrace.event AS e
WHERE e.project_id = ANY ($1::bigint[])
  AND ($2::bigint IS NULL OR e.id < $2)
  AND ($3::text IS NULL OR e.source = $3)
  AND ($4::text IS NULL
       OR ($4 = 'no match' AND NOT EXISTS (SELECT FROM headrace.event_fate AS f WHERE f.event_id = e.id))
       OR EXISTS (SELECT FROM headrace.event_fate AS f WHERE f.event_id = e.id AND f.fate = $4))
ORDER BY e.id DESC LIMIT $5;

-- name: event
-- One event, whole.
SELECT id, project_id, source, kind, key, payload, headers, body, occurred_at, received_at, replay_of, variables,
       execution_date
FROM headrace.event WHERE id = $1;

-- name: fates_of_events
-- What became of some events, with the triggers' names.
SELECT f.event_id, f.trigger_id, t.pipeline, t.name, f.fate, f.reason, f.run_id, f.decided_at
FROM headrace.event_fate AS f LEFT JOIN headrace.trigger AS t ON t.id = f.trigger_id
WHERE f.event_id = ANY ($1::bigint[]) ORDER BY f.event_id, f.trigger_id;
