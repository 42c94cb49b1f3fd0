-- Backfills that are made once, whatever the number of times that somebody asks for them.

ALTER TABLE headrace.backfill ADD COLUMN key text;
CREATE UNIQUE INDEX backfill_by_key ON headrace.backfill (project_id, key) WHERE key IS NOT NULL;
