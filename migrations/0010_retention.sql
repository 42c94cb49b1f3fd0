-- What retention needs: logs in a partition a day, blobs told by their content, and ways to what is oldest.

ALTER TABLE headrace.log_line RENAME TO log_line_before_partitions;
ALTER TABLE headrace.log_line_before_partitions RENAME CONSTRAINT log_line_pkey TO log_line_before_partitions_pkey;
ALTER INDEX headrace.log_line_in_order RENAME TO log_line_before_partitions_in_order;

CREATE SEQUENCE headrace.log_line_number AS bigint;

CREATE TABLE headrace.log_line (
    run_id  bigint NOT NULL,
    block   text NOT NULL,
    attempt integer NOT NULL,
    fence   bigint NOT NULL,
    seq     integer NOT NULL,
    at      timestamptz NOT NULL,
    stream  text NOT NULL CHECK (stream IN ('stdout', 'stderr', 'log')),
    level   text NOT NULL,
    text    text NOT NULL,
    id      bigint NOT NULL DEFAULT nextval('headrace.log_line_number'),
    PRIMARY KEY (run_id, block, attempt, fence, seq, at)
) PARTITION BY RANGE (at);
CREATE INDEX log_line_in_order ON headrace.log_line (run_id, id);
CREATE TABLE headrace.log_line_rest PARTITION OF headrace.log_line DEFAULT;

-- Makes the partition of a day unless it is there, or lines of that day lie in the rest already.
CREATE FUNCTION headrace.make_log_day(day date) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    name text := 'log_line_' || to_char(day, 'YYYYMMDD');
    first timestamptz := day::timestamp AT TIME ZONE 'UTC';
    past timestamptz := (day + 1)::timestamp AT TIME ZONE 'UTC';
BEGIN
    IF to_regclass('headrace.' || name) IS NOT NULL
       OR EXISTS (SELECT FROM headrace.log_line_rest AS l WHERE l.at >= first AND l.at < past) THEN
        RETURN false;
    END IF;
    EXECUTE format('CREATE TABLE headrace.%I PARTITION OF headrace.log_line FOR VALUES FROM (%L) TO (%L)',
                   name, first, past);
    RETURN true;
END
$$;
SELECT headrace.make_log_day(((now() AT TIME ZONE 'UTC')::date + d)::date) FROM generate_series(0, 7) AS d;

INSERT INTO headrace.log_line (run_id, block, attempt, fence, seq, at, stream, level, text, id)
SELECT run_id, block, attempt, fence, seq, at, stream, level, text, id FROM headrace.log_line_before_partitions;
SELECT setval('headrace.log_line_number', COALESCE(max(id), 0) + 1, false) FROM headrace.log_line;
DROP TABLE headrace.log_line_before_partitions;

ALTER TABLE headrace.blob ADD COLUMN sha256 bytea;
CREATE UNIQUE INDEX blob_by_content ON headrace.blob (sha256) WHERE sha256 IS NOT NULL;

CREATE INDEX run_by_end ON headrace.run (project_id, finished_at) WHERE finished_at IS NOT NULL;
CREATE INDEX event_by_age ON headrace.event (project_id, received_at);
ALTER TABLE headrace.run DROP CONSTRAINT run_retry_of_fkey,
    ADD CONSTRAINT run_retry_of_fkey FOREIGN KEY (retry_of) REFERENCES headrace.run (id) ON DELETE SET NULL;
CREATE INDEX run_by_retry_of ON headrace.run (retry_of) WHERE retry_of IS NOT NULL;
