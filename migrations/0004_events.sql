-- Events, the triggers that listen to them, and what became of each event for each trigger.

-- What runs of a version are made of, so that one statement can make them.
ALTER TABLE headrace.pipeline_version ADD COLUMN blocks text[] NOT NULL DEFAULT '{}';

CREATE TABLE headrace.trigger (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    project_id bigint NOT NULL REFERENCES headrace.project (id),
    pipeline   text NOT NULL,
    name       text NOT NULL,
    kind       text NOT NULL CHECK (kind IN ('schedule', 'api', 'webhook', 'sensor', 'run')),
    origin     text NOT NULL CHECK (origin IN ('file', 'api')),
    source     text NOT NULL,
    status     text NOT NULL CHECK (status IN ('active', 'inactive', 'broken')),
    reason     text,
    definition json NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (project_id, pipeline, name),
    CHECK ((reason IS NOT NULL) >= (status = 'broken'))
);

CREATE TABLE headrace.event (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    project_id  bigint NOT NULL REFERENCES headrace.project (id),
    source      text NOT NULL,
    kind        text NOT NULL,
    key         text NOT NULL,
    payload     json,
    headers     json NOT NULL DEFAULT '{}',
    body        bytea,
    occurred_at timestamptz NOT NULL,
    received_at timestamptz NOT NULL DEFAULT now(),
    replay_of   bigint,
    UNIQUE (project_id, source, key)
);
CREATE INDEX event_by_source ON headrace.event (project_id, source, id DESC);

ALTER TABLE headrace.run ADD COLUMN trigger_id bigint REFERENCES headrace.trigger (id);
CREATE INDEX run_active_by_trigger ON headrace.run (trigger_id, id)
    WHERE trigger_id IS NOT NULL AND status IN ('initial', 'running');

-- Only rows that wait for their batch are ever changed. No foreign keys: rows come only from the statement that writes
-- the event and its runs.
CREATE TABLE headrace.event_fate (
    event_id   bigint NOT NULL,
    trigger_id bigint,
    fate       text NOT NULL CHECK (fate IN ('run', 'filtered', 'skipped', 'waiting', 'dead')),
    reason     text,
    dedup_key  text,
    run_id     bigint,
    decided_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE NULLS NOT DISTINCT (event_id, trigger_id),
    CHECK ((run_id IS NOT NULL) = (fate = 'run'))
);
CREATE INDEX event_fate_waiting ON headrace.event_fate (trigger_id, event_id) WHERE fate = 'waiting';
CREATE INDEX event_fate_by_run ON headrace.event_fate (run_id) WHERE run_id IS NOT NULL;
CREATE UNIQUE INDEX event_fate_once_by_key ON headrace.event_fate (trigger_id, dedup_key)
    WHERE dedup_key IS NOT NULL AND fate IN ('run', 'waiting');

CREATE FUNCTION headrace.refuse_changing_a_final_fate() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the fate of event % for trigger % is % and can change no more (asked for: %)',
        OLD.event_id, OLD.trigger_id, OLD.fate, NEW.fate USING ERRCODE = 'check_violation';
END
$$;

CREATE TRIGGER event_fate_is_final BEFORE UPDATE OF fate ON headrace.event_fate
    FOR EACH ROW WHEN (OLD.fate <> 'waiting' AND NEW.fate IS DISTINCT FROM OLD.fate)
    EXECUTE FUNCTION headrace.refuse_changing_a_final_fate();
