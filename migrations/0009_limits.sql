-- Limits over runs: a run with gates starts only once it was admitted through all of them. Admissions are rows, counted
-- in the transaction that grants, and go with the run's end: there is no counter that could drift.

ALTER TABLE headrace.run
    ADD COLUMN rank timestamptz NOT NULL DEFAULT now(),
    ADD COLUMN gates text[],
    ADD COLUMN gate_caps integer[],
    ADD COLUMN admitted_at timestamptz,
    ADD COLUMN parked_on text,
    ADD CHECK (cardinality(gates) = cardinality(gate_caps));

-- A point of priority is worth ten minutes of waiting, so the order of two runs never changes while they wait.
UPDATE headrace.run SET rank = created_at - priority * interval '10 minutes' WHERE status IN ('initial', 'running');

DROP INDEX headrace.run_live;
CREATE INDEX run_live ON headrace.run (rank, id)
    WHERE status IN ('initial', 'running')
      AND (gates IS NULL OR admitted_at IS NOT NULL OR cancel_requested_at IS NOT NULL);
CREATE INDEX run_to_admit ON headrace.run (project_id, rank, id)
    WHERE status = 'initial' AND gates IS NOT NULL AND admitted_at IS NULL AND parked_on IS NULL;
CREATE INDEX run_parked ON headrace.run (parked_on, rank, id) WHERE status = 'initial' AND parked_on IS NOT NULL;

CREATE TABLE headrace.admission (
    gate   text NOT NULL,
    run_id bigint NOT NULL,
    PRIMARY KEY (gate, run_id)
);
CREATE INDEX admission_by_run ON headrace.admission (run_id);

CREATE FUNCTION headrace.leave_gates() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    WITH left_gate AS (
        DELETE FROM headrace.admission WHERE run_id = NEW.id RETURNING gate
    ), next_run AS (
        SELECT n.id FROM left_gate AS g CROSS JOIN LATERAL (
            SELECT r.id FROM headrace.run AS r
            WHERE r.parked_on = g.gate AND r.status = 'initial'
            ORDER BY r.rank, r.id LIMIT 1 FOR UPDATE SKIP LOCKED
        ) AS n
    )
    UPDATE headrace.run AS r SET parked_on = NULL FROM next_run WHERE r.id = next_run.id;
    RETURN NULL;
END
$$;

CREATE TRIGGER run_leaves_gates AFTER UPDATE OF status ON headrace.run
    FOR EACH ROW WHEN (NEW.gates IS NOT NULL AND NEW.status IN ('completed', 'failed', 'cancelled')
                       AND OLD.status IS DISTINCT FROM NEW.status)
    EXECUTE FUNCTION headrace.leave_gates();
