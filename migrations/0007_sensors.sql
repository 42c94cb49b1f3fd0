-- Sensors that triggers listen to: where each stands, which service looks for it, and where its cursor was before.

CREATE TABLE headrace.sensor (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    project_id   bigint NOT NULL REFERENCES headrace.project (id),
    name         text NOT NULL,
    settings     json NOT NULL,
    owner        uuid,
    fence        bigint NOT NULL DEFAULT 0,
    seq          bigint NOT NULL DEFAULT 0,
    cursor       json,
    round        integer NOT NULL DEFAULT 0,
    paused_at    timestamptz,
    delivered    bigint NOT NULL DEFAULT 0,
    delivered_at timestamptz,
    lag          real,
    looked_at    timestamptz,
    next_look_at timestamptz,
    late         real,
    failures     integer NOT NULL DEFAULT 0,
    error        json,
    error_at     timestamptz,
    created_at   timestamptz NOT NULL DEFAULT now(),
    UNIQUE (project_id, name),
    CHECK (paused_at IS NULL OR owner IS NULL)
) WITH (fillfactor = 50);
COMMENT ON COLUMN headrace.sensor.owner IS 'the service that looks for it, for as long as that one''s lease lasts';
COMMENT ON COLUMN headrace.sensor.seq IS 'deliveries that were committed; the next one counts one further';
COMMENT ON COLUMN headrace.sensor.round IS 'raised so that keys which were accepted before count as new again';
COMMENT ON COLUMN headrace.sensor.lag IS 'seconds from when the newest event happened to its commit';
COMMENT ON COLUMN headrace.sensor.late IS 'seconds by which its last look began later than it was due';

CREATE INDEX sensor_by_owner ON headrace.sensor (owner) WHERE owner IS NOT NULL;

-- Cursors as they were, one every few seconds at most, to go back to.
CREATE TABLE headrace.sensor_cursor (
    sensor_id bigint NOT NULL REFERENCES headrace.sensor (id) ON DELETE CASCADE,
    seq       bigint NOT NULL,
    cursor    json,
    kept_at   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (sensor_id, seq)
);
CREATE INDEX sensor_cursor_by_time ON headrace.sensor_cursor (sensor_id, kept_at);
