-- name: drop_old_outputs
-- The outputs of some of the runs that ended longer than $4 seconds ago: of pipeline $2, or of all but those in $3.
WITH old AS (
    SELECT r.id FROM headrace.run AS r
    WHERE r.project_id = $1 AND r.finished_at < now() - $4::float8 * interval '1 second'
      AND CASE WHEN $2::text IS NULL THEN r.pipeline <> ALL ($3::text[]) ELSE r.pipeline = $2 END
      AND EXISTS (SELECT FROM headrace.output AS o WHERE o.run_id = r.id)
    ORDER BY r.finished_at LIMIT $5
), noted AS (
    UPDATE headrace.block_run AS b SET outputs_dropped = true FROM old
    WHERE b.run_id = old.id
      AND EXISTS (SELECT FROM headrace.output AS o WHERE o.run_id = b.run_id AND o.block = b.block)
)
DELETE FROM headrace.output AS o USING old WHERE o.run_id = old.id;

-- name: drop_outputs_beyond
-- The outputs of the runs that ended first, where all of a project's, or of its pipeline $4, have more than $2 bytes.
WITH sized AS (
    SELECT r.id, r.finished_at, sum(o.bytes) AS bytes
    FROM headrace.run AS r JOIN headrace.output AS o ON o.run_id = r.id
    WHERE r.project_id = $1 AND r.finished_at IS NOT NULL AND ($4::text IS NULL OR r.pipeline = $4)
    GROUP BY r.id
), beyond AS (
    SELECT id FROM (
        SELECT id, sum(bytes) OVER (ORDER BY finished_at DESC, id DESC) AS upto FROM sized
    ) AS s WHERE s.upto > $2 ORDER BY id LIMIT $3
), noted AS (
    UPDATE headrace.block_run AS b SET outputs_dropped = true FROM beyond
    WHERE b.run_id = beyond.id
      AND EXISTS (SELECT FROM headrace.output AS o WHERE o.run_id = b.run_id AND o.block = b.block)
)
DELETE FROM headrace.output AS o USING beyond WHERE o.run_id = beyond.id;

-- name: old_runs
-- Some of the runs that ended longer than $4 seconds ago: of pipeline $2, or of all but those in $3.
SELECT r.id FROM headrace.run AS r
WHERE r.project_id = $1 AND r.finished_at < now() - $4::float8 * interval '1 second'
  AND CASE WHEN $2::text IS NULL THEN r.pipeline <> ALL ($3::text[]) ELSE r.pipeline = $2 END
ORDER BY r.finished_at LIMIT $5;

-- name: drop_runs
-- Runs that have ended, with everything that belongs to them.
WITH outputs AS (
    DELETE FROM headrace.output WHERE run_id = ANY ($1::bigint[])
), attempts AS (
    DELETE FROM headrace.attempt WHERE run_id = ANY ($1::bigint[])
), lines AS (
    DELETE FROM headrace.log_line WHERE run_id = ANY ($1::bigint[])
), slots AS (
    DELETE FROM headrace.slot WHERE run_id = ANY ($1::bigint[])
)
DELETE FROM headrace.run WHERE id = ANY ($1::bigint[]) AND finished_at IS NOT NULL;

-- name: drop_old_lines
-- The log lines of some runs of a pipeline that ended longer than $3 seconds ago.
WITH old AS (
    SELECT r.id FROM headrace.run AS r
    WHERE r.project_id = $1 AND r.finished_at < now() - $3::float8 * interval '1 second'
      AND CASE WHEN $2::text IS NULL THEN r.pipeline <> ALL ($5::text[]) ELSE r.pipeline = $2 END
      AND EXISTS (SELECT FROM headrace.log_line AS l WHERE l.run_id = r.id)
    ORDER BY r.finished_at LIMIT $4
)
DELETE FROM headrace.log_line AS l USING old WHERE l.run_id = old.id;

-- name: drop_old_events
-- Of up to $8 events beyond a place ($6, $7) that came longer than $2 seconds ago, remove those that are old enough for all
-- pipelines whose triggers they met ($4 and their ages $5, $3 for others) and that wait for nothing; the place of the last.
WITH seen AS MATERIALIZED (
    SELECT e.id, e.received_at FROM headrace.event AS e
    WHERE e.project_id = $1 AND e.received_at < now() - $2::float8 * interval '1 second'
      AND (e.received_at, e.id) > ($6::timestamptz, $7::bigint)
    ORDER BY e.received_at, e.id LIMIT $8
), old AS (
    SELECT s.id FROM seen AS s
    CROSS JOIN LATERAL (
        SELECT max(COALESCE(a.age, $3)) AS age, bool_or(f.fate = 'waiting') AS waits
        FROM headrace.event_fate AS f
        LEFT JOIN headrace.trigger AS t ON t.id = f.trigger_id
        LEFT JOIN unnest($4::text[], $5::float8[]) AS a (pipeline, age) ON a.pipeline = t.pipeline
        WHERE f.event_id = s.id
    ) AS met
    WHERE s.received_at < now() - COALESCE(met.age, $3::float8) * interval '1 second' AND met.waits IS NOT TRUE
), fates AS (
    DELETE FROM headrace.event_fate AS f USING old WHERE f.event_id = old.id
), gone AS (
    DELETE FROM headrace.event AS e USING old WHERE e.id = old.id
)
SELECT received_at, id FROM seen ORDER BY received_at DESC, id DESC LIMIT 1;

-- name: log_days
-- The partitions of log lines that are wholly older than $1 seconds.
SELECT c.relname AS name
FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid
WHERE i.inhparent = 'headrace.log_line'::regclass AND c.relname ~ '^log_line_\d{8}$'
  AND to_date(right(c.relname, 8), 'YYYYMMDD') + 1 <= ((now() - $1::float8 * interval '1 second') AT TIME ZONE 'UTC')::date
ORDER BY c.relname;

-- name: make_log_days
-- The partitions of the coming days.
SELECT count(*) FILTER (WHERE headrace.make_log_day(((now() AT TIME ZONE 'UTC')::date + d)::date))
FROM generate_series(1, $1::int) AS d;

-- name: projects_share_the_database
-- Whether another project's log lines lie in the same partitions.
SELECT count(*) > 1 FROM headrace.project;
