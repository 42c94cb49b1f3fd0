-- name: keep_project
-- The id of the project in a folder, recorded on first sight.
INSERT INTO headrace.project (path, name) VALUES ($1, $2)
ON CONFLICT (path) DO UPDATE SET name = excluded.name
RETURNING id;

-- name: keep_version
-- Pin a pipeline's content, once for each hash; its blocks are those of a run of it.
INSERT INTO headrace.pipeline_version AS v (hash, pipeline, definition, blocks) VALUES ($1, $2, $3, $4)
ON CONFLICT (hash) DO UPDATE SET blocks = excluded.blocks WHERE v.blocks = '{}';

-- name: create_run
-- A run in its first state with a row for each of its blocks; kept blocks count as completed by the earlier run. The key
-- of its request is refused where a run was made for it already.
WITH new_run AS (
    INSERT INTO headrace.run (project_id, pipeline, version, variables, retry_of, priority, execution_date, rank,
                              gates, gate_caps)
    VALUES ($1, $2, $3, $4, $5, $6::int, COALESCE($9::timestamptz, now()), now() - $6::int * interval '10 minutes', $10, $11)
    RETURNING id
), blocks AS (
    INSERT INTO headrace.block_run (run_id, block, position, status, kept_from, finished_at)
    SELECT new_run.id, b.block, b.position - 1,
           CASE WHEN b.kept IS NULL THEN 'initial' ELSE 'completed' END, b.kept,
           CASE WHEN b.kept IS NULL THEN NULL ELSE now() END
    FROM new_run, unnest($7::text[], $8::bigint[]) WITH ORDINALITY AS b (block, kept, position)
), requested AS (
    INSERT INTO headrace.run_request (run_id, project_id, key) SELECT id, $1, $12::text FROM new_run
)
SELECT id FROM new_run;

-- name: requested_run
-- The run that was made for the key of a request.
SELECT run_id FROM headrace.run_request WHERE project_id = $1 AND key = $2;

-- name: wake_services
-- Tell every service that there may be work for it, and who says so.
SELECT pg_notify($1, $2);

-- name: lock_kept_blocks
-- How many of the blocks that a run keeps still have their outputs; none of these is removed before our commit.
SELECT count(*) FROM (
    SELECT k.block
    FROM headrace.block_run AS b
    JOIN headrace.block_run AS k ON k.run_id = b.kept_from AND k.block = b.block
    WHERE b.run_id = $1 AND NOT k.outputs_dropped
    FOR SHARE OF k
) AS kept;

-- name: copy_kept_outputs
-- The outputs of the blocks that a run keeps from earlier runs; their blobs are shared.
INSERT INTO headrace.output (run_id, block, position, attempt, codec, bytes, rows, content, blob, preview)
SELECT $1, o.block, o.position, o.attempt, o.codec, o.bytes, o.rows, o.content, o.blob, o.preview
FROM headrace.block_run AS b
JOIN headrace.output AS o ON o.run_id = b.kept_from AND o.block = b.block
WHERE b.run_id = $1 AND b.kept_from IS NOT NULL
ON CONFLICT DO NOTHING;

-- name: last_completed_block_runs
-- For each of some blocks of a pipeline, the newest run in which it completed and whose outputs are still there.
SELECT b.block, max(b.run_id) AS run_id
FROM headrace.run AS r
JOIN headrace.block_run AS b ON b.run_id = r.id
WHERE r.project_id = $1 AND r.pipeline = $2 AND b.block = ANY ($3::text[]) AND b.status = 'completed'
  AND NOT b.outputs_dropped
GROUP BY b.block;

-- name: claim_runs
-- Take runs that nobody drives under a new fencing token: free ones, those whose service's lease has expired, and our own
-- that we do not drive (the answer to their claim was lost). Nothing without a lease of our own.
WITH free AS (
    SELECT r.id
    FROM headrace.run AS r
    WHERE r.status IN ('initial', 'running')
      AND (r.gates IS NULL OR r.admitted_at IS NOT NULL OR r.cancel_requested_at IS NOT NULL)
      AND r.project_id = $2
      AND ($4::bigint[] IS NULL OR r.id = ANY ($4))
      AND r.id <> ALL ($5::bigint[])
      AND (r.owner IS NULL OR r.owner = $1 OR NOT EXISTS (
          SELECT FROM headrace.service AS s WHERE s.id = r.owner AND s.lease_until > now()))
      AND EXISTS (SELECT FROM headrace.service AS s WHERE s.id = $1 AND s.lease_until > now())
    ORDER BY r.rank, r.id
    LIMIT $3
    FOR UPDATE OF r SKIP LOCKED
), claimed AS (
    UPDATE headrace.run AS r
    SET owner = $1, fence = r.fence + 1
    FROM free
    WHERE r.id = free.id
    RETURNING r.*
), held AS (
    INSERT INTO headrace.run_step AS h (run_id, fence) SELECT id, fence FROM claimed
    ON CONFLICT (run_id) DO UPDATE SET fence = excluded.fence
    RETURNING h.run_id, h.step
)
SELECT c.id, c.pipeline, c.version, c.status, c.variables, c.fence, held.step, c.ending,
       c.cancel_requested_at IS NOT NULL AS cancel_requested, c.execution_date, c.started_at, c.created_at,
       c.gates IS NOT NULL AS gated,
       ARRAY(SELECT b.block FROM headrace.block_run AS b WHERE b.run_id = c.id AND b.kept_from IS NOT NULL) AS kept
FROM claimed AS c JOIN held ON held.run_id = c.id;

-- name: block_states
-- Where each block of a run stands, in the pipeline's order.
SELECT block, status, attempt, failures, waiting, callbacks_due, due, error, started_at, worker_pid
FROM headrace.block_run WHERE run_id = $1 ORDER BY position;

-- name: pipeline_version
-- A pinned pipeline.
SELECT definition FROM headrace.pipeline_version WHERE hash = $1;

-- name: record_steps
-- The next step of each of several runs, each only while its token counts: moves of blocks, ended attempts, outputs and
-- (where a step has a status) the run's own state commit together. Gives back the runs whose step was taken.
WITH step AS (
    SELECT * FROM unnest($2::headrace.recorded_step[])
), held AS (
    UPDATE headrace.run_step AS h
    SET step = s.step
    FROM step AS s
    WHERE h.run_id = s.run_id AND h.fence = s.fence AND h.step = s.step - 1
    RETURNING h.run_id AS id
), turned AS (
    UPDATE headrace.run AS r
    SET status = s.status,
        changed = pg_current_xact_id(),
        ending = COALESCE(s.ending, r.ending),
        reason = s.reason,
        started_at = COALESCE(r.started_at, now()),
        finished_at = CASE WHEN s.status IN ('completed', 'failed', 'cancelled') THEN now() END,
        owner = CASE WHEN s.status IN ('completed', 'failed', 'cancelled') THEN NULL ELSE r.owner END
    FROM step AS s
    WHERE s.status IS NOT NULL AND r.id = s.run_id AND r.id IN (SELECT id FROM held)
), moved AS (
    UPDATE headrace.block_run AS b
    SET status = m.status,
        attempt = m.attempt,
        failures = m.failures,
        waiting = m.waiting,
        callbacks_due = m.callbacks_due,
        due = m.due,
        reason = m.reason,
        error = COALESCE(m.error, b.error),
        worker_pid = m.worker_pid,
        queued_at = CASE WHEN m.status = 'queued' OR (m.status = 'running' AND b.queued_at IS NULL)
                         THEN now() ELSE b.queued_at END,
        started_at = CASE WHEN m.status = 'running' AND b.status <> 'running' AND NOT b.waiting
                          THEN now() ELSE b.started_at END,
        finished_at = CASE WHEN m.status IN ('completed', 'failed', 'cancelled', 'upstream_failed', 'condition_failed')
                           THEN COALESCE(b.finished_at, now()) END
    FROM unnest($3::headrace.recorded_move[]) AS m
    WHERE b.run_id = m.run_id AND b.block = m.block AND m.run_id IN (SELECT id FROM held)
), ended AS (
    INSERT INTO headrace.attempt (run_id, block, number, outcome, error, worker_pid, service, fence, started_at)
    SELECT e.run_id, e.block, e.number, e.outcome, e.error, e.worker_pid, $1, s.fence, e.started_at
    FROM unnest($4::headrace.recorded_attempt[]) AS e
    JOIN step AS s ON s.run_id = e.run_id
    WHERE e.run_id IN (SELECT id FROM held)
), stored AS (
    INSERT INTO headrace.output (run_id, block, position, attempt, codec, bytes, rows, content, blob, preview)
    SELECT o.run_id, o.block, o.position, o.attempt, o.codec, o.bytes, o.rows, o.content, o.blob, o.preview
    FROM unnest($5::headrace.recorded_output[]) AS o
    WHERE o.run_id IN (SELECT id FROM held)
)
SELECT id FROM held;

-- name: steps_taken
-- Where runs stand, to learn whether a step whose answer was lost had been committed.
SELECT run_id AS id, fence, step FROM headrace.run_step WHERE run_id = ANY ($1::bigint[]);

-- name: renew_lease
-- Prolong a service's lease, or make it where it is new or was forgotten; the database's time.
INSERT INTO headrace.service (id, host, pid, lease_until)
VALUES ($1, $2, $3, now() + $4::float8 * interval '1 second')
ON CONFLICT (id) DO UPDATE SET lease_until = excluded.lease_until
RETURNING extract(epoch FROM now())::float8 AS now;

-- name: runs_driven
-- Of runs that a service drives: the fencing token that counts now, and whether somebody asked for their cancel.
SELECT id, fence, cancel_requested_at IS NOT NULL AS cancel_requested
FROM headrace.run WHERE id = ANY ($1::bigint[]);

-- name: forget_services
-- Services whose lease expired long ago and which hold no run.
DELETE FROM headrace.service AS s
WHERE s.lease_until < now() - interval '1 hour'
  AND NOT EXISTS (SELECT FROM headrace.run AS r WHERE r.owner = s.id);

-- name: fail_run
-- End a run that cannot be driven on, with the reason told; only while its service still holds it.
WITH stepped AS (
    UPDATE headrace.run_step SET step = step + 1 WHERE run_id = $1 AND fence = $2 RETURNING run_id
), held AS (
    UPDATE headrace.run AS r
    SET status = 'failed', changed = pg_current_xact_id(), ending = COALESCE(r.ending, 'failed'), reason = $4, owner = NULL,
        started_at = COALESCE(r.started_at, now()), finished_at = now()
    FROM stepped
    WHERE r.id = stepped.run_id AND r.fence = $2 AND r.owner = $3 AND r.status IN ('initial', 'running')
    RETURNING r.id
), lost AS (
    INSERT INTO headrace.attempt (run_id, block, number, outcome, error, worker_pid, service, fence, started_at)
    SELECT b.run_id, b.block, b.attempt, 'lost', b.error, b.worker_pid, $3, $2, b.started_at
    FROM headrace.block_run AS b
    WHERE b.run_id IN (SELECT id FROM held) AND (b.status = 'running' OR b.waiting)
    ON CONFLICT DO NOTHING
), dropped AS (
    UPDATE headrace.block_run
    SET status = CASE WHEN status IN ('initial', 'queued', 'running') THEN 'cancelled' ELSE status END,
        reason = NULL, due = NULL, waiting = false, callbacks_due = false, finished_at = COALESCE(finished_at, now())
    WHERE run_id IN (SELECT id FROM held) AND (status IN ('initial', 'queued', 'running') OR callbacks_due)
)
SELECT id FROM held;

-- name: give_back_run
-- Let go of one run of a service, while it still holds it.
UPDATE headrace.run SET owner = NULL WHERE id = $1 AND fence = $2 AND owner = $3;

-- name: release_runs
-- Give back the runs of a service that stops, and its lease.
WITH released AS (
    UPDATE headrace.run SET owner = NULL WHERE owner = $1 AND status IN ('initial', 'running')
    RETURNING id
), gone AS (
    DELETE FROM headrace.service WHERE id = $1
)
SELECT count(*) FROM released;

-- name: request_cancel
-- Ask for a run's cancel; false when the run has ended already, no row when there is no such run.
WITH asked AS (
    UPDATE headrace.run SET cancel_requested_at = COALESCE(cancel_requested_at, now())
    WHERE id = $1 AND status IN ('initial', 'running')
    RETURNING id
)
SELECT EXISTS (SELECT FROM asked) AS asked, r.status, r.owner,
       EXISTS (SELECT FROM headrace.service AS s WHERE s.id = r.owner AND s.lease_until > now()) AS driven
FROM headrace.run AS r WHERE r.id = $1;

-- name: run
-- One run, whether a live service drives it, and until when its trigger wants it done.
SELECT r.*, p.path AS project_path, p.name AS project,
       COALESCE((SELECT h.step FROM headrace.run_step AS h WHERE h.run_id = r.id), 0) AS step,
       EXISTS (SELECT FROM headrace.service AS s WHERE s.id = r.owner AND s.lease_until > now()) AS driven,
       d.due, COALESCE(COALESCE(r.finished_at, now()) > d.due, false) AS passed_sla
FROM headrace.run AS r JOIN headrace.project AS p ON p.id = r.project_id
LEFT JOIN headrace.trigger AS t ON t.id = r.trigger_id
CROSS JOIN LATERAL (
    SELECT r.execution_date + (t.definition ->> 'sla')::float8 * interval '1 second' AS due
) AS d
WHERE r.id = $1;

-- name: runs_past_sla
-- For each pipeline of some projects with triggers that have an sla: how many runs have not ended though it has passed.
SELECT p.name AS project, t.pipeline,
       count(*) FILTER (WHERE now() > r.execution_date + (t.definition ->> 'sla')::float8 * interval '1 second') AS runs
FROM headrace.trigger AS t
JOIN headrace.project AS p ON p.id = t.project_id
LEFT JOIN headrace.run AS r ON r.trigger_id = t.id AND r.status IN ('initial', 'running')
WHERE t.project_id = ANY ($1::bigint[]) AND t.definition ->> 'sla' IS NOT NULL
GROUP BY p.name, t.pipeline;

-- name: run_end
-- How a run ended, or that it has not.
SELECT status, reason, finished_at FROM headrace.run WHERE id = $1;

-- name: block_runs
-- The blocks of a run with their rows and number of outputs.
SELECT b.*, o.outputs, o.rows
FROM headrace.block_run AS b
LEFT JOIN LATERAL (
    SELECT count(*) AS outputs, max(rows) AS rows FROM headrace.output AS o
    WHERE o.run_id = b.run_id AND o.block = b.block
) AS o ON true
WHERE b.run_id = $1 ORDER BY b.position;

-- name: newest_runs
-- A page of runs of some projects, newest first, before an id.
SELECT r.id, p.name AS project, r.pipeline, r.status, r.reason, r.parked_on, r.created_at, r.started_at, r.finished_at, c.done, c.total,
       EXISTS (SELECT FROM headrace.service AS s WHERE s.id = r.owner AND s.lease_until > now()) AS driven
FROM headrace.run AS r
JOIN headrace.project AS p ON p.id = r.project_id
CROSS JOIN LATERAL (
    SELECT count(*) AS total,
           count(*) FILTER (WHERE b.status IN ('completed', 'failed', 'cancelled', 'upstream_failed',
                                               'condition_failed')) AS done
    FROM headrace.block_run AS b WHERE b.run_id = r.id
) AS c
WHERE r.project_id = ANY ($1::bigint[])
  AND ($2::bigint IS NULL OR r.id < $2)
  AND ($3::text IS NULL OR r.pipeline = $3)
  AND ($4::text IS NULL OR r.status = $4)
ORDER BY r.id DESC LIMIT $5;

-- name: changed_runs
-- Runs of some projects whose status was changed beyond transaction $2 and run $3 in it, in the order of transactions,
-- save those that a snapshot ($4) had seen already; with each row the snapshot that this is told from, and the transaction
-- before which everything is. Changes from beyond that are another server's, from before a dump.
SELECT s.snapshot::text AS snapshot, pg_snapshot_xmin(s.snapshot)::text::bigint AS horizon, c.*
FROM (SELECT pg_current_snapshot() AS snapshot) AS s
LEFT JOIN LATERAL (
    SELECT r.id, p.name AS project, r.pipeline, r.status, r.reason, r.parked_on, r.created_at, r.started_at,
           r.finished_at, r.changed::text::bigint AS changed, b.done, b.total,
           EXISTS (SELECT FROM headrace.service AS v WHERE v.id = r.owner AND v.lease_until > now()) AS driven
    FROM headrace.run AS r
    JOIN headrace.project AS p ON p.id = r.project_id
    CROSS JOIN LATERAL (
        SELECT count(*) AS total,
               count(*) FILTER (WHERE b.status IN ('completed', 'failed', 'cancelled', 'upstream_failed',
                                                   'condition_failed')) AS done
        FROM headrace.block_run AS b WHERE b.run_id = r.id
    ) AS b
    WHERE (r.changed, r.id) > ($2::bigint::text::xid8, $3::bigint)
      AND r.changed < pg_snapshot_xmax(s.snapshot)
      AND ($4::text IS NULL OR NOT pg_visible_in_snapshot(r.changed, $4::text::pg_snapshot))
      AND r.project_id = ANY ($1::bigint[])
      AND ($5::text IS NULL OR r.pipeline = $5)
    ORDER BY r.changed, r.id LIMIT $6
) AS c ON true
ORDER BY c.changed, c.id;

-- name: run_changes_horizon
-- The snapshot of this moment, the transaction before which all have ended, and the one that is the next.
SELECT s.snapshot::text AS snapshot, pg_snapshot_xmin(s.snapshot)::text::bigint AS horizon,
       pg_snapshot_xmax(s.snapshot)::text::bigint AS next
FROM (SELECT pg_current_snapshot() AS snapshot) AS s;

-- name: run_changes_beyond
-- Whether the status of more than $3 runs was changed beyond transaction $1 and run $2 in it.
SELECT EXISTS (
    SELECT FROM headrace.run WHERE (changed, id) > ($1::bigint::text::xid8, $2::bigint) OFFSET $3);

-- name: unfinished_runs
-- Ids of a project's runs that have not ended.
SELECT id FROM headrace.run WHERE project_id = $1 AND status IN ('initial', 'running') ORDER BY id;
