-- Backfills: runs of a pipeline for intervals of the past, one row an interval, made at a pace.

CREATE TABLE headrace.backfill (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    project_id   bigint NOT NULL REFERENCES headrace.project (id),
    pipeline     text NOT NULL,
    name         text NOT NULL,
    start_at     timestamptz NOT NULL,
    end_at       timestamptz NOT NULL,
    every        text NOT NULL,
    timezone     text NOT NULL DEFAULT 'UTC',
    reprocess    text NOT NULL CHECK (reprocess IN ('missing', 'failed', 'all')),
    run_order    text NOT NULL CHECK (run_order IN ('forwards', 'backwards')),
    status       text NOT NULL DEFAULT 'running'
        CHECK (status IN ('running', 'paused', 'completed', 'failed', 'cancelled')),
    reason       text,
    variables    json NOT NULL DEFAULT '{}',
    concurrency  integer NOT NULL CHECK (concurrency >= 1),
    pace         double precision NOT NULL DEFAULT 0 CHECK (pace >= 0),
    priority     integer NOT NULL,
    next_at      timestamptz NOT NULL DEFAULT now(),
    created_at   timestamptz NOT NULL DEFAULT now(),
    finished_at  timestamptz,
    CHECK ((finished_at IS NOT NULL) = (status IN ('completed', 'failed', 'cancelled')))
);
CREATE INDEX backfill_live ON headrace.backfill (project_id, id) WHERE status = 'running';

CREATE TABLE headrace.backfill_interval (
    backfill_id bigint NOT NULL REFERENCES headrace.backfill (id) ON DELETE CASCADE,
    position    integer NOT NULL,
    start_at    timestamptz NOT NULL,
    end_at      timestamptz NOT NULL,
    status      text NOT NULL CHECK (status IN ('waiting', 'made', 'left_out', 'cancelled')),
    reason      text,
    tries       integer NOT NULL DEFAULT 0,
    run_id      bigint,
    PRIMARY KEY (backfill_id, position),
    CHECK ((run_id IS NOT NULL) >= (status = 'made'))
);
CREATE INDEX backfill_interval_waiting ON headrace.backfill_interval (backfill_id, position) WHERE status = 'waiting';
CREATE INDEX backfill_interval_by_run ON headrace.backfill_interval (run_id) WHERE run_id IS NOT NULL;

-- What the policies and the search for gaps ask: the runs of a pipeline by the interval that they are for.
CREATE INDEX run_by_execution_date ON headrace.run (project_id, pipeline, execution_date, id DESC);
