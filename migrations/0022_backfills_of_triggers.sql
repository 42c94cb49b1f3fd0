-- Backfills of triggers make runs as their trigger would: with its variables, settings and limits.

ALTER TABLE headrace.backfill
    ADD COLUMN trigger_name text,
    ADD COLUMN of_slots boolean NOT NULL DEFAULT false,
    ADD CHECK (trigger_name IS NOT NULL OR NOT of_slots);
ALTER TABLE headrace.backfill_interval ADD COLUMN previous_at timestamptz;
