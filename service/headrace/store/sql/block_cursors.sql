-- Where sensors within pipelines left off.

-- name: block_cursor
-- Where a sensor of a pipeline goes on in a run: where it left off in this run, else when its block completed last. A
-- run that is no longer kept had ended.
SELECT c.cursor
FROM headrace.block_cursor AS c
LEFT JOIN headrace.block_run AS b ON b.run_id = c.run_id AND b.block = c.block
WHERE c.project_id = $1 AND c.pipeline = $2 AND c.block = $3
  AND CASE WHEN c.run_id = $4 THEN NOT c.has_seen ELSE c.has_seen AND COALESCE(b.status, 'completed') = 'completed' END
ORDER BY c.run_id = $4 DESC, c.run_id DESC LIMIT 1;

-- name: keep_block_cursor
-- Keep where a sensor left off in a run; of earlier runs only the last ones that may still count are kept.
WITH kept AS (
    INSERT INTO headrace.block_cursor AS c (project_id, pipeline, block, run_id, has_seen, cursor)
    VALUES ($1, $2, $3, $4, $5, $6)
    ON CONFLICT (project_id, pipeline, block, run_id)
    DO UPDATE SET has_seen = excluded.has_seen, cursor = excluded.cursor
)
DELETE FROM headrace.block_cursor AS c
WHERE c.project_id = $1 AND c.pipeline = $2 AND c.block = $3 AND c.run_id < (
    SELECT max(k.run_id)
    FROM headrace.block_cursor AS k
    JOIN headrace.block_run AS b ON b.run_id = k.run_id AND b.block = k.block AND b.status = 'completed'
    WHERE k.project_id = $1 AND k.pipeline = $2 AND k.block = $3 AND k.has_seen);
