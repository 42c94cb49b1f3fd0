-- name: store_log_lines
-- A batch of log lines; a line that is there already stays as it is.
INSERT INTO headrace.log_line (run_id, block, attempt, fence, seq, at, stream, level, text)
SELECT * FROM unnest($1::bigint[], $2::text[], $3::int[], $4::bigint[], $5::int[], $6::timestamptz[], $7::text[],
                     $8::text[], $9::text[])
ON CONFLICT DO NOTHING;

-- name: log_lines
-- A page of a run's log lines after an id, of one block or of all.
SELECT id, block, attempt, seq, at, stream, level, text FROM headrace.log_line
WHERE run_id = $1 AND id > $2 AND ($3::text IS NULL OR block = $3) ORDER BY id LIMIT $4;

-- name: export_lines
-- What connectors said in the logs of some of a run's blocks about exports that went through, in order.
SELECT block, text FROM headrace.log_line
WHERE run_id = $1 AND block = ANY ($2::text[]) AND stream = 'stdout' AND text LIKE '%Exporting data to %DONE'
ORDER BY id;
