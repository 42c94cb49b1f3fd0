-- An event may make a backfill instead of a run.

ALTER TABLE headrace.event_fate DROP CONSTRAINT event_fate_fate_check,
    ADD CONSTRAINT event_fate_fate_check CHECK (fate IN ('run', 'filtered', 'skipped', 'waiting', 'backfill', 'dead'));
