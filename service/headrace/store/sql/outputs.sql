-- name: create_blob
-- A blob before its parts, or the one that has the same content already: that is kept for this run, too, from now on.
INSERT INTO headrace.blob AS b (id, run_id, bytes, parts, sha256) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (sha256) WHERE sha256 IS NOT NULL DO UPDATE
SET created_at = now(), run_id = excluded.run_id,
    other_runs = ARRAY(
        SELECT r.id FROM headrace.run AS r
        WHERE r.id = ANY (b.run_id || b.other_runs) AND r.id <> excluded.run_id AND r.status IN ('initial', 'running')
    )
RETURNING b.id;

-- name: store_part
-- One part of a blob.
INSERT INTO headrace.blob_part (blob, seq, content) VALUES ($1, $2, $3);

-- name: outputs_of
-- The outputs of some blocks of a run, without previews.
SELECT block, position, codec, bytes, rows, content, blob FROM headrace.output
WHERE run_id = $1 AND block = ANY ($2::text[]) ORDER BY block, position;

-- name: outputs_listed
-- The outputs of one block of a run, without their bytes and previews.
SELECT block, position, codec, bytes, rows FROM headrace.output
WHERE run_id = $1 AND block = $2 ORDER BY position;

-- name: outputs_shown
-- The outputs of some blocks of a run as they are shown: JSON of up to $3 bytes whole, anything else by its preview.
SELECT o.block, o.position, CASE WHEN w.whole THEN o.content END AS content, CASE WHEN w.whole THEN o.blob END AS blob,
       CASE WHEN NOT w.whole THEN o.preview END AS preview
FROM headrace.output AS o CROSS JOIN LATERAL (SELECT o.codec = 'json' AND o.bytes <= $3 AS whole) AS w
WHERE o.run_id = $1 AND o.block = ANY ($2::text[]) ORDER BY o.block, o.position;

-- name: output
-- One output with its preview, and how many outputs its block has.
SELECT o.*, (SELECT count(*) FROM headrace.output AS a WHERE a.run_id = $1 AND a.block = $2) AS outputs
FROM headrace.output AS o WHERE o.run_id = $1 AND o.block = $2 AND o.position = $3;

-- name: part
-- One part of a blob; no row after the last one.
SELECT content FROM headrace.blob_part WHERE blob = $1 AND seq = $2;

-- name: drop_orphan_blobs
-- Some of the blobs older than $1 seconds that were written for an output which never came to be recorded.
WITH orphan AS (
    SELECT b.id, b.created_at FROM headrace.blob AS b
    WHERE b.created_at < now() - $1::float8 * interval '1 second'
      AND NOT EXISTS (SELECT FROM headrace.output AS o WHERE o.blob = b.id)
      AND NOT EXISTS (
          SELECT FROM headrace.run AS r WHERE r.id = ANY (b.run_id || b.other_runs) AND r.status IN ('initial', 'running')
      )
    LIMIT $2
)
-- Its time is asked for again: another run may have taken the content for its own since.
DELETE FROM headrace.blob AS b USING orphan
WHERE b.id = orphan.id AND b.created_at = orphan.created_at
RETURNING b.id;
