-- Which transaction changed a run's status last: what a stream of all runs goes by. A transaction's number is known before
-- it commits, and whether it had ended at some moment can be asked later: nothing is left out, whoever commits when.
-- Statements that change the status write it themselves; a trigger would lock each row once more.

ALTER TABLE headrace.run ADD COLUMN changed xid8;
ALTER TABLE headrace.run ALTER COLUMN changed SET DEFAULT pg_current_xact_id();
CREATE INDEX run_changes ON headrace.run (changed, id) WHERE changed IS NOT NULL;
