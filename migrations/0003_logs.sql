-- What blocks print and log, line by line. A gap in seq is a gap in the log.

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
    id      bigint GENERATED ALWAYS AS IDENTITY,
    PRIMARY KEY (run_id, block, attempt, fence, seq)
);
CREATE INDEX log_line_in_order ON headrace.log_line (run_id, id);
