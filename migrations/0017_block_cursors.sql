-- Where sensors within pipelines left off. It counts once their block has completed in that run, whose end is committed
-- by another statement; until then only within the run, where the sensor has seen nothing yet.

CREATE TABLE headrace.block_cursor (
    project_id bigint NOT NULL REFERENCES headrace.project (id),
    pipeline   text NOT NULL,
    block      text NOT NULL,
    run_id     bigint NOT NULL,
    has_seen   boolean NOT NULL,
    cursor     json NOT NULL,
    PRIMARY KEY (project_id, pipeline, block, run_id)
);
