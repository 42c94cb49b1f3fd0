-- Pools of named slots for blocks. A slot is a row of a block that waits for it or holds it; it counts only while its run
-- is driven under the fencing token that it was asked with.

CREATE TABLE headrace.pool (
    project_id bigint NOT NULL REFERENCES headrace.project (id),
    name       text NOT NULL,
    size       integer NOT NULL CHECK (size >= 1),
    PRIMARY KEY (project_id, name)
);

CREATE TABLE headrace.slot (
    run_id     bigint NOT NULL,
    block      text NOT NULL,
    pool       text NOT NULL,
    project_id bigint NOT NULL,
    fence      bigint NOT NULL,
    slots      integer NOT NULL CHECK (slots >= 1),
    rank       timestamptz NOT NULL,
    asked_at   timestamptz NOT NULL DEFAULT now(),
    granted_at timestamptz,
    PRIMARY KEY (run_id, block, pool)
);
CREATE INDEX slot_by_project ON headrace.slot (project_id, rank, asked_at);
