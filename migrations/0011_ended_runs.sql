-- Runs that ended and that some trigger listens for: each becomes an event and leaves this table in one transaction.

CREATE INDEX trigger_listening ON headrace.trigger (project_id, source) WHERE status = 'active';

CREATE TABLE headrace.ended_run (
    run_id   bigint PRIMARY KEY,
    ended_at timestamptz NOT NULL DEFAULT now()
);

CREATE FUNCTION headrace.note_ended_run() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO headrace.ended_run (run_id)
    SELECT NEW.id
    WHERE EXISTS (
        SELECT FROM headrace.trigger AS t
        WHERE t.project_id = NEW.project_id AND t.source = 'run:' || NEW.pipeline AND t.status = 'active');
    RETURN NULL;
END
$$;

CREATE TRIGGER run_ended AFTER UPDATE OF status ON headrace.run
    FOR EACH ROW WHEN (NEW.status IN ('completed', 'failed', 'cancelled') AND OLD.status IS DISTINCT FROM NEW.status)
    EXECUTE FUNCTION headrace.note_ended_run();
