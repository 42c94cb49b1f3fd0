-- What an event hands to its runs beside its payload: a slot's interval, a call's or a start's variables. With it, a replay
-- makes the same run again.

ALTER TABLE headrace.event ADD COLUMN variables json;
ALTER TABLE headrace.event ADD COLUMN execution_date timestamptz;
