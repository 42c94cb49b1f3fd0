-- Outputs of blocks (recorded with the end of their attempt, hence no foreign key to it): small ones in their row, large ones as a blob of parts that are streamed in and out.

CREATE TABLE headrace.blob (
    id         uuid PRIMARY KEY,
    run_id     bigint NOT NULL,
    bytes      bigint NOT NULL,
    parts      integer NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE headrace.blob_part (
    blob    uuid NOT NULL REFERENCES headrace.blob (id) ON DELETE CASCADE,
    seq     integer NOT NULL,
    content bytea NOT NULL,
    PRIMARY KEY (blob, seq)
);

-- The parts are compressed already: Postgres would only try again, 2 to 13 times slower.
ALTER TABLE headrace.blob_part ALTER COLUMN content SET STORAGE EXTERNAL;

CREATE TABLE headrace.output (
    run_id   bigint NOT NULL,
    block    text NOT NULL,
    position integer NOT NULL,
    attempt  integer NOT NULL,
    codec    text NOT NULL CHECK (codec IN ('arrow', 'json', 'pickle')),
    bytes    bigint NOT NULL,
    rows     bigint,
    content  bytea,
    blob     uuid REFERENCES headrace.blob (id),
    preview  json,
    PRIMARY KEY (run_id, block, position),
    CHECK ((content IS NULL) <> (blob IS NULL))
);
ALTER TABLE headrace.output ALTER COLUMN content SET STORAGE EXTERNAL;
CREATE INDEX output_by_blob ON headrace.output (blob) WHERE blob IS NOT NULL;
CREATE INDEX blob_by_age ON headrace.blob (created_at);

-- See headrace.recorded_step.
CREATE TYPE headrace.recorded_output AS (
    run_id   bigint,
    block    text,
    position integer,
    attempt  integer,
    codec    text,
    bytes    bigint,
    rows     bigint,
    content  bytea,
    blob     uuid,
    preview  json
);
