-- Where the record of a run stands: the token under which it is driven and the number of its last recorded step. Apart
-- from the run because every step writes it: a step costs nothing of the run's own indexes, checks and triggers then.
CREATE TABLE headrace.run_step (
    run_id bigint PRIMARY KEY REFERENCES headrace.run (id) ON DELETE CASCADE,
    fence  bigint NOT NULL,
    step   bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 50);

INSERT INTO headrace.run_step (run_id, fence, step) SELECT id, fence, step FROM headrace.run WHERE fence > 0;
ALTER TABLE headrace.run DROP COLUMN step;
