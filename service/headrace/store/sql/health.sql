-- name: ping
-- Whether the server answers.
SELECT 1;

-- name: live_runs
-- How many runs have not ended, by status, and how long the oldest of each has been there, in seconds.
SELECT status, count(*) AS runs, COALESCE(EXTRACT(epoch FROM now() - min(created_at)), 0)::float8 AS oldest
FROM headrace.run WHERE status IN ('initial', 'running') AND project_id = ANY ($1::bigint[]) GROUP BY status;
