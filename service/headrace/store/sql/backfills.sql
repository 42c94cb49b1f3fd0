-- name: interval_standings
-- For each moment that runs of a pipeline are for, within bounds: what the newest of them came to, or which running
-- backfill is about to make the next one.
SELECT DISTINCT ON (moment) moment, status, backfill
FROM (
    SELECT execution_date AS moment, status, NULL::bigint AS backfill, id AS newness
    FROM headrace.run
    WHERE project_id = $1 AND pipeline = $2 AND execution_date BETWEEN $3 AND $4
    UNION ALL
    SELECT i.start_at, 'initial', b.id, NULL
    FROM headrace.backfill AS b JOIN headrace.backfill_interval AS i ON i.backfill_id = b.id
    WHERE b.project_id = $1 AND b.pipeline = $2 AND b.status = 'running'
      AND i.status = 'waiting' AND i.start_at BETWEEN $3 AND $4
) AS standing
ORDER BY moment, newness DESC NULLS FIRST, backfill;

-- name: lock_planning
-- Let nobody else make backfills of a project until the transaction ends: two would plan the same intervals.
SELECT id FROM headrace.project WHERE id = $1 FOR NO KEY UPDATE;

-- name: backfill_of_key
-- The backfill that was made under a key before.
SELECT id FROM headrace.backfill WHERE project_id = $1 AND key = $2;

-- name: create_backfill
-- A backfill whose intervals are added next; one with nothing to run is completed at once.
INSERT INTO headrace.backfill (project_id, pipeline, name, start_at, end_at, every, timezone, reprocess, run_order,
                               variables, concurrency, pace, priority, key, trigger_name, of_slots,
                               status, finished_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16,
        CASE WHEN $17::boolean THEN 'running' ELSE 'completed' END,
        CASE WHEN $17::boolean THEN NULL ELSE now() END)
RETURNING id;

-- name: add_backfill_intervals
-- Intervals of a backfill in their order, beyond position $2.
INSERT INTO headrace.backfill_interval (backfill_id, position, start_at, end_at, status, reason, previous_at)
SELECT $1, $2::int + i.position, i.start_at, i.end_at, i.status, i.reason, i.previous_at
FROM unnest($3::timestamptz[], $4::timestamptz[], $5::text[], $6::text[], $7::timestamptz[])
    WITH ORDINALITY AS i (start_at, end_at, status, reason, previous_at, position);

-- name: live_backfills
-- Backfills of some projects that make runs.
SELECT id FROM headrace.backfill WHERE project_id = ANY ($1::bigint[]) AND status = 'running' ORDER BY id;

-- name: count_live_backfills
-- How many backfills of some projects have not ended, and how many of their intervals wait, by status.
SELECT b.status, count(*) AS backfills, sum(i.waiting)::bigint AS waiting
FROM headrace.backfill AS b
CROSS JOIN LATERAL (
    SELECT count(*) AS waiting FROM headrace.backfill_interval AS i WHERE i.backfill_id = b.id AND i.status = 'waiting'
) AS i
WHERE b.project_id = ANY ($1::bigint[]) AND b.status IN ('running', 'paused')
GROUP BY b.status;

-- name: lock_backfill
-- One backfill, for the transaction's own; no row while another has it.
SELECT id, project_id, pipeline, name, reprocess, variables, concurrency, pace, priority, trigger_name, of_slots,
       extract(epoch FROM next_at - now())::float8 AS due_in
FROM headrace.backfill WHERE id = $1 AND status = 'running' FOR UPDATE SKIP LOCKED;

-- name: active_intervals
-- How many runs of a backfill have not ended.
SELECT count(*)
FROM headrace.backfill_interval AS i JOIN headrace.run AS r ON r.id = i.run_id
WHERE i.backfill_id = $1 AND i.status = 'made' AND r.status IN ('initial', 'running');

-- name: waiting_intervals
-- The next intervals of a backfill.
SELECT position, start_at, end_at, previous_at, tries FROM headrace.backfill_interval
WHERE backfill_id = $1 AND status = 'waiting' ORDER BY position LIMIT $2;

-- name: newest_runs_for
-- For each of some moments that runs of a pipeline are for: the newest of them.
SELECT DISTINCT ON (execution_date) execution_date, id, status
FROM headrace.run
WHERE project_id = $1 AND pipeline = $2 AND execution_date = ANY ($3::timestamptz[])
ORDER BY execution_date, id DESC;

-- name: lock_intervals
-- Let no other backfill make runs of a pipeline until the transaction ends: what it sees of them then stays so.
SELECT pg_advisory_xact_lock(hashtextextended('headrace intervals of ' || $2::text, $1::bigint));

-- name: note_made_intervals
-- Intervals whose runs were made just now, and when the next may be.
WITH made AS (
    UPDATE headrace.backfill_interval AS i SET status = 'made', run_id = m.run_id, tries = i.tries + 1
    FROM unnest($2::int[], $3::bigint[]) AS m (position, run_id)
    WHERE i.backfill_id = $1 AND i.position = m.position
)
UPDATE headrace.backfill SET next_at = now() + pace * interval '1 second', reason = NULL WHERE id = $1;

-- name: leave_out_intervals
-- Intervals that are not run, for their reasons.
UPDATE headrace.backfill_interval AS i SET status = 'left_out', reason = l.reason, run_id = NULL
FROM unnest($2::int[], $3::text[]) AS l (position, reason)
WHERE i.backfill_id = $1 AND i.position = l.position AND i.status = 'waiting';

-- name: end_backfill_if_done
-- End a backfill none of whose intervals waits or runs.
UPDATE headrace.backfill AS b
SET status = CASE WHEN bad.some THEN 'failed' ELSE 'completed' END, finished_at = now(), reason = NULL
FROM (
    SELECT EXISTS (
        SELECT FROM headrace.backfill_interval AS i JOIN headrace.run AS r ON r.id = i.run_id
        WHERE i.backfill_id = $1 AND i.status = 'made' AND r.status <> 'completed') AS some
) AS bad
WHERE b.id = $1 AND b.status = 'running'
  AND NOT EXISTS (SELECT FROM headrace.backfill_interval WHERE backfill_id = $1 AND status = 'waiting')
  AND NOT EXISTS (
      SELECT FROM headrace.backfill_interval AS i JOIN headrace.run AS r ON r.id = i.run_id
      WHERE i.backfill_id = $1 AND i.status = 'made' AND r.status IN ('initial', 'running'))
RETURNING b.status;

-- name: put_off_backfill
-- Let a backfill try again in $3 seconds, and tell why.
UPDATE headrace.backfill SET reason = $2, next_at = now() + $3::float8 * interval '1 second'
WHERE id = $1 AND status = 'running';

-- name: pause_backfill
-- Let a backfill make no more runs for now.
UPDATE headrace.backfill SET status = 'paused' WHERE id = $1 AND status = 'running' RETURNING id;

-- name: resume_backfill
-- Let a paused backfill go on.
UPDATE headrace.backfill SET status = 'running', next_at = now() WHERE id = $1 AND status = 'paused' RETURNING id;

-- name: change_backfill
-- Change how fast a backfill goes, while it runs.
UPDATE headrace.backfill
SET concurrency = COALESCE($2, concurrency), pace = COALESCE($3, pace), next_at = now()
WHERE id = $1 AND status IN ('running', 'paused') RETURNING id;

-- name: hold_backfill
-- Wait for whoever makes runs of a backfill just now, and keep others from it until the transaction ends.
SELECT id FROM headrace.backfill WHERE id = $1 FOR UPDATE;

-- name: cancel_backfill
-- End a backfill that is held: what waits is dropped, what runs is asked to stop.
WITH ended AS (
    UPDATE headrace.backfill SET status = 'cancelled', finished_at = now()
    WHERE id = $1 AND status IN ('running', 'paused') RETURNING id
), dropped AS (
    UPDATE headrace.backfill_interval AS i SET status = 'cancelled' FROM ended
    WHERE i.backfill_id = ended.id AND i.status = 'waiting'
), asked AS (
    UPDATE headrace.run AS r SET cancel_requested_at = COALESCE(r.cancel_requested_at, now())
    FROM ended, headrace.backfill_interval AS i
    WHERE i.backfill_id = ended.id AND i.run_id = r.id AND r.status IN ('initial', 'running')
)
SELECT id FROM ended;

-- name: retry_backfill
-- Let the intervals whose runs did not complete wait again; those whose run was never made too.
WITH again AS (
    UPDATE headrace.backfill_interval AS i SET status = 'waiting', run_id = NULL
    FROM headrace.backfill AS b
    WHERE i.backfill_id = $1 AND b.id = $1 AND b.status IN ('failed', 'cancelled')
      AND (i.status IN ('cancelled', 'waiting') OR EXISTS (
          SELECT FROM headrace.run AS r WHERE r.id = i.run_id AND r.status IN ('failed', 'cancelled')))
    RETURNING i.position
)
UPDATE headrace.backfill SET status = 'running', finished_at = NULL, reason = NULL, next_at = now()
WHERE id = $1 AND status IN ('failed', 'cancelled') AND EXISTS (SELECT FROM again)
RETURNING (SELECT count(*) FROM again);

-- name: backfills
-- A page of some projects' backfills with what their intervals have come to, newest first, before an id; or the one of
-- an id.
SELECT b.id, b.project_id, p.name AS project, b.pipeline, b.name, b.start_at, b.end_at, b.every, b.timezone,
       b.reprocess, b.run_order, b.status, b.reason, b.variables, b.concurrency, b.pace, b.priority, b.next_at,
       b.created_at, b.finished_at, c.*
FROM (
    SELECT * FROM headrace.backfill
    WHERE ($1::bigint[] IS NULL OR project_id = ANY ($1))
      AND ($2::bigint IS NULL OR id < $2)
      AND ($3::text IS NULL OR pipeline = $3)
      AND ($4::text IS NULL OR status = $4)
      AND ($5::bigint IS NULL OR id = $5)
    ORDER BY id DESC LIMIT $6
) AS b
JOIN headrace.project AS p ON p.id = b.project_id
CROSS JOIN LATERAL (
    SELECT count(*) FILTER (WHERE i.status = 'waiting') AS waiting,
           count(*) FILTER (WHERE r.status IN ('initial', 'running')) AS running,
           count(*) FILTER (WHERE r.status = 'completed') AS completed,
           count(*) FILTER (WHERE r.status IN ('failed', 'cancelled')) AS failed,
           count(*) FILTER (WHERE i.status = 'left_out') AS left_out,
           count(*) FILTER (WHERE i.status = 'cancelled') AS dropped
    FROM headrace.backfill_interval AS i LEFT JOIN headrace.run AS r ON r.id = i.run_id
    WHERE i.backfill_id = b.id
) AS c
ORDER BY b.id DESC;

-- name: backfill_intervals
-- A page of a backfill's intervals in their order, beyond a position; all, or those that have come to one state.
SELECT * FROM (
    SELECT i.position, i.start_at, i.end_at, i.status, i.reason, i.tries, i.run_id, r.status AS run_status,
           CASE WHEN i.status <> 'made' OR r.status IS NULL THEN i.status
                WHEN r.status = 'initial' THEN 'running'
                WHEN r.status = 'cancelled' THEN 'failed'
                ELSE r.status END AS state
    FROM headrace.backfill_interval AS i LEFT JOIN headrace.run AS r ON r.id = i.run_id
    WHERE i.backfill_id = $1 AND i.position > $2
) AS told
WHERE $3::text IS NULL OR state = $3
ORDER BY position LIMIT $4;
