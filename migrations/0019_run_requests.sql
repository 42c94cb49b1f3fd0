-- Requests that made a run, by their key: one that comes again, since its answer was lost, finds the run of the first.

CREATE TABLE headrace.run_request (
    run_id     bigint PRIMARY KEY REFERENCES headrace.run (id) ON DELETE CASCADE,
    project_id bigint NOT NULL,
    key        text NOT NULL,
    UNIQUE (project_id, key)
);
