-- What blocks and sensors ask about runs of other pipelines.

-- name: run_near
-- The newest run of a pipeline for a time, or for up to some seconds before it; of a run and its retries, the last one.
SELECT r.id, r.status, r.execution_date
FROM headrace.run AS r
WHERE r.project_id = $1 AND r.pipeline = $2
  AND r.execution_date <= $3 AND r.execution_date >= $3 - $4::float8 * interval '1 second'
ORDER BY r.execution_date DESC, r.id DESC LIMIT 1;

-- name: block_status
-- Where one block of a run stands.
SELECT status FROM headrace.block_run WHERE run_id = $1 AND block = $2;

-- name: completed_runs
-- The runs of a pipeline that completed, from a time on, the first ones first.
SELECT r.id, r.execution_date, r.finished_at
FROM headrace.run AS r
WHERE r.project_id = $1 AND r.pipeline = $2 AND r.status = 'completed'
  AND ($3::timestamptz IS NULL OR r.finished_at >= $3)
ORDER BY r.finished_at, r.id LIMIT 1000;
