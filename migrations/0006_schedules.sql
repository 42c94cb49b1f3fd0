-- Schedules: since when a trigger is enabled, how far each schedule has come, and which slots are being made up for.

ALTER TABLE headrace.trigger ADD COLUMN enabled_at timestamptz NOT NULL DEFAULT now();
UPDATE headrace.trigger SET enabled_at = created_at;

CREATE FUNCTION headrace.note_enabling() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.enabled_at := now();
    RETURN NEW;
END
$$;

CREATE TRIGGER trigger_is_enabled BEFORE UPDATE OF status ON headrace.trigger
    FOR EACH ROW WHEN (OLD.status = 'inactive' AND NEW.status = 'active')
    EXECUTE FUNCTION headrace.note_enabling();

-- One row for each schedule, by the source of its slots. Rows outlive their events, which retention may drop.
CREATE TABLE headrace.schedule_state (
    project_id  bigint NOT NULL REFERENCES headrace.project (id),
    source      text NOT NULL,
    pattern     text,
    counts_from timestamptz,
    last_slot   timestamptz,
    PRIMARY KEY (project_id, source)
) WITH (fillfactor = 50);

-- The last slot is written by the database itself, with the slot's event and whoever records it: it cannot drift.
CREATE FUNCTION headrace.note_slot() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO headrace.schedule_state AS s (project_id, source, last_slot)
    VALUES (NEW.project_id, NEW.source, NEW.occurred_at)
    ON CONFLICT (project_id, source) DO UPDATE SET last_slot = excluded.last_slot
    WHERE s.last_slot IS NULL OR s.last_slot < excluded.last_slot;
    RETURN NULL;
END
$$;

CREATE TRIGGER event_is_a_slot AFTER INSERT ON headrace.event
    FOR EACH ROW WHEN (NEW.kind = 'slot' AND starts_with(NEW.source, 'schedule:'))
    EXECUTE FUNCTION headrace.note_slot();

-- Slots that passed while no service ran and are made up for one after the other: those after `slots_after`, up to
-- `slots_until`. The row moves on in the transaction that records the slots' events.
CREATE TABLE headrace.catching_up (
    project_id  bigint NOT NULL REFERENCES headrace.project (id),
    source      text NOT NULL,
    slots_after timestamptz NOT NULL,
    slots_until timestamptz NOT NULL,
    due_at      timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (project_id, source)
);
