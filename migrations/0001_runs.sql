-- Runs of pipelines, their blocks, and the services that drive them.

CREATE TABLE headrace.project (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    path        text NOT NULL UNIQUE,
    name        text NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now()
);

-- A pipeline as pinned for runs: graph, sources and policies in one value, kept once for each content.
CREATE TABLE headrace.pipeline_version (
    hash        text PRIMARY KEY,
    pipeline    text NOT NULL,
    definition  json NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now()
);

-- A live process that may drive runs. Its lease covers every run that it owns.
CREATE TABLE headrace.service (
    id          uuid PRIMARY KEY,
    host        text NOT NULL,
    pid         integer NOT NULL,
    started_at  timestamptz NOT NULL DEFAULT now(),
    lease_until timestamptz NOT NULL
);

CREATE TABLE headrace.run (
    id                  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    project_id          bigint NOT NULL REFERENCES headrace.project (id),
    pipeline            text NOT NULL,
    version             text NOT NULL REFERENCES headrace.pipeline_version (hash),
    status              text NOT NULL DEFAULT 'initial'
        CHECK (status IN ('initial', 'running', 'completed', 'failed', 'cancelled')),
    variables           json NOT NULL DEFAULT '{}',
    priority            integer NOT NULL DEFAULT 0,
    execution_date      timestamptz NOT NULL DEFAULT now(),
    retry_of            bigint REFERENCES headrace.run (id),
    owner               uuid,
    fence               bigint NOT NULL DEFAULT 0,
    step                bigint NOT NULL DEFAULT 0,
    reason              text,
    ending              text,
    cancel_requested_at timestamptz,
    created_at          timestamptz NOT NULL DEFAULT now(),
    started_at          timestamptz,
    finished_at         timestamptz,
    CHECK ((finished_at IS NOT NULL) = (status IN ('completed', 'failed', 'cancelled')))
) WITH (fillfactor = 70);

-- What a claim looks at: finished runs are not in it.
CREATE INDEX run_live ON headrace.run (priority DESC, id) WHERE status IN ('initial', 'running');
CREATE INDEX run_by_pipeline ON headrace.run (project_id, pipeline, id DESC);

CREATE TABLE headrace.block_run (
    run_id        bigint NOT NULL REFERENCES headrace.run (id) ON DELETE CASCADE,
    block         text NOT NULL,
    position      integer NOT NULL,
    status        text NOT NULL DEFAULT 'initial'
        CHECK (status IN ('initial', 'queued', 'running', 'completed', 'failed', 'cancelled',
                          'upstream_failed', 'condition_failed')),
    attempt       integer NOT NULL DEFAULT 0,
    failures      integer NOT NULL DEFAULT 0,
    waiting       boolean NOT NULL DEFAULT false,
    callbacks_due boolean NOT NULL DEFAULT false,
    due           timestamptz,
    reason        text,
    error         json,
    worker_pid    integer,
    kept_from     bigint,
    queued_at     timestamptz,
    started_at    timestamptz,
    finished_at   timestamptz,
    PRIMARY KEY (run_id, block)
) WITH (fillfactor = 50);

-- One ended attempt of a block. The attempt under way is told by its block_run. No foreign key: rows come only from the
-- statement that moves the block_run itself, and the check would double that statement's cost.
CREATE TABLE headrace.attempt (
    run_id      bigint NOT NULL,
    block       text NOT NULL,
    number      integer NOT NULL,
    outcome     text NOT NULL,
    error       json,
    worker_pid  integer,
    service     uuid NOT NULL,
    fence       bigint NOT NULL,
    started_at  timestamptz,
    finished_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (run_id, block, number)
);

-- Terminal states are final, whoever writes.
CREATE FUNCTION headrace.refuse_leaving_terminal_state() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% of run % is % and can move no more (asked for: %)',
        TG_ARGV[0], COALESCE(to_json(OLD) ->> 'run_id', to_json(OLD) ->> 'id'), OLD.status, NEW.status
        USING ERRCODE = 'check_violation';
END
$$;

-- AFTER and not BEFORE: a BEFORE trigger locks each row once more, also where its condition is false.
CREATE TRIGGER run_terminal_state_is_final AFTER UPDATE OF status ON headrace.run
    FOR EACH ROW WHEN (OLD.status IN ('completed', 'failed', 'cancelled') AND NEW.status IS DISTINCT FROM OLD.status)
    EXECUTE FUNCTION headrace.refuse_leaving_terminal_state('the run itself');

CREATE TRIGGER block_run_terminal_state_is_final AFTER UPDATE OF status ON headrace.block_run
    FOR EACH ROW WHEN (OLD.status IN ('completed', 'failed', 'cancelled', 'upstream_failed', 'condition_failed')
                       AND NEW.status IS DISTINCT FROM OLD.status)
    EXECUTE FUNCTION headrace.refuse_leaving_terminal_state('a block');

-- What one statement takes in when it records the steps of several runs: rows as values, a third of the cost of one
-- array for each column.
CREATE TYPE headrace.recorded_step AS (
    run_id bigint,
    fence  bigint,
    step   bigint,
    status text,
    ending text,
    reason text
);
CREATE TYPE headrace.recorded_move AS (
    run_id        bigint,
    block         text,
    status        text,
    attempt       integer,
    failures      integer,
    waiting       boolean,
    callbacks_due boolean,
    due           timestamptz,
    reason        text,
    error         json,
    worker_pid    integer
);
CREATE TYPE headrace.recorded_attempt AS (
    run_id     bigint,
    block      text,
    number     integer,
    outcome    text,
    error      json,
    worker_pid integer,
    started_at timestamptz
);
