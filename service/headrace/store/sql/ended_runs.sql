-- name: take_ended_runs
-- Ended runs of some projects that are no events yet, locked for the transaction; others take others. Those of the
-- pipelines in $3 (project/pipeline) are left to a newer version.
SELECT r.id, r.project_id, r.pipeline, r.status, r.reason, r.variables, r.execution_date, r.trigger_id, r.started_at,
       r.finished_at
FROM headrace.ended_run AS e JOIN headrace.run AS r ON r.id = e.run_id
WHERE r.project_id = ANY ($1::bigint[]) AND r.project_id || '/' || r.pipeline <> ALL ($3::text[])
ORDER BY e.run_id LIMIT $2
FOR UPDATE OF e SKIP LOCKED;

-- name: drop_ended_runs
-- Runs that are events now.
DELETE FROM headrace.ended_run WHERE run_id = ANY ($1::bigint[]);
