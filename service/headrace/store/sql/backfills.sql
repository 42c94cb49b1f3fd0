-- name: newest_run_statuses
-- For each moment that runs of a pipeline are for, within bounds: what the newest of them came to.
SELECT DISTINCT ON (execution_date) execution_date, status
FROM headrace.run
WHERE project_id = $1 AND pipeline = $2 AND execution_date BETWEEN $3 AND $4
ORDER BY execution_date, id DESC;

-- name: create_backfill
-- A backfill and its intervals.
WITH made AS (
    INSERT INTO headrace.backfill (project_id, pipeline, name, start_at, end_at, every, timezone, reprocess, run_order,
                                   variables, concurrency, pace, priority, status, finished_at)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13,
            CASE WHEN 'waiting' = ANY ($16::text[]) THEN 'running' ELSE 'completed' END,
            CASE WHEN 'waiting' = ANY ($16::text[]) THEN NULL ELSE now() END)
    RETURNING id
), intervals AS (
    INSERT INTO headrace.backfill_interval (backfill_id, position, start_at, end_at, status, reason)
    SELECT made.id, i.position, i.start_at, i.end_at, i.status, i.reason
    FROM made, unnest($14::timestamptz[], $15::timestamptz[], $16::text[], $17::text[])
        WITH ORDINALITY AS i (start_at, end_at, status, reason, position)
)
SELECT id FROM made;

-- name: live_backfills
-- Backfills of some projects that make runs.
SELECT id FROM headrace.backfill WHERE project_id = ANY ($1::bigint[]) AND status = 'running' ORDER BY id;

-- name: lock_backfill
-- One backfill, for the transaction's own; no row while another has it.
SELECT id, project_id, pipeline, name, variables, concurrency, pace, priority,
       extract(epoch FROM next_at - now())::float8 AS due_in
FROM headrace.backfill WHERE id = $1 AND status = 'running' FOR UPDATE SKIP LOCKED;

-- name: active_intervals
-- How many runs of a backfill have not ended.
SELECT count(*)
FROM headrace.backfill_interval AS i JOIN headrace.run AS r ON r.id = i.run_id
WHERE i.backfill_id = $1 AND i.status = 'made' AND r.status IN ('initial', 'running');

-- name: waiting_intervals
-- The next intervals of a backfill.
SELECT position, start_at, end_at, tries FROM headrace.backfill_interval
WHERE backfill_id = $1 AND status = 'waiting' ORDER BY position LIMIT $2;

-- name: note_made_intervals
-- Intervals whose runs were made just now, and when the next may be.
WITH made AS (
    UPDATE headrace.backfill_interval AS i SET status = 'made', run_id = m.run_id, tries = i.tries + 1
    FROM unnest($2::int[], $3::bigint[]) AS m (position, run_id)
    WHERE i.backfill_id = $1 AND i.position = m.position
)
UPDATE headrace.backfill SET next_at = now() + pace * interval '1 second' WHERE id = $1;

-- name: end_backfill_if_done
-- End a backfill none of whose intervals waits or runs.
UPDATE headrace.backfill AS b
SET status = CASE WHEN bad.some THEN 'failed' ELSE 'completed' END, finished_at = now()
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

-- name: fail_backfill
-- End a backfill that can make no more runs.
UPDATE headrace.backfill SET status = 'failed', reason = $2, finished_at = now() WHERE id = $1 AND status = 'running';

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

-- name: cancel_backfill
-- End a backfill: what waits is dropped, what runs is asked to stop.
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
-- Let the intervals whose runs did not complete wait again; what was cancelled before its run was made too.
WITH again AS (
    UPDATE headrace.backfill_interval AS i SET status = 'waiting', run_id = NULL
    FROM headrace.backfill AS b
    WHERE i.backfill_id = $1 AND b.id = $1 AND b.status IN ('failed', 'cancelled')
      AND (i.status = 'cancelled' OR EXISTS (
          SELECT FROM headrace.run AS r WHERE r.id = i.run_id AND r.status IN ('failed', 'cancelled')))
    RETURNING i.position
)
UPDATE headrace.backfill SET status = 'running', finished_at = NULL, reason = NULL, next_at = now()
WHERE id = $1 AND status IN ('failed', 'cancelled') AND EXISTS (SELECT FROM again)
RETURNING (SELECT count(*) FROM again);

-- name: backfill
-- One backfill with what its intervals have come to.
SELECT b.*, c.waiting, c.running, c.completed, c.failed, c.left_out, c.dropped
FROM headrace.backfill AS b
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
WHERE b.id = $1;

-- name: newest_backfills
-- A page of a project's backfills, newest first, before an id.
SELECT id FROM headrace.backfill
WHERE project_id = $1 AND ($2::bigint IS NULL OR id < $2) ORDER BY id DESC LIMIT $3;

-- name: backfill_intervals
-- A page of a backfill's intervals in their order, beyond a position.
SELECT i.position, i.start_at, i.end_at, i.status, i.reason, i.tries, i.run_id, r.status AS run_status
FROM headrace.backfill_interval AS i LEFT JOIN headrace.run AS r ON r.id = i.run_id
WHERE i.backfill_id = $1 AND i.position > $2 ORDER BY i.position LIMIT $3;
