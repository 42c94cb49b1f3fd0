-- A gate's cap may change while runs wait at it: what changed after a run was made counts more than what the run was made
-- with. No cap is no limit.

CREATE TABLE headrace.gate (
    name  text PRIMARY KEY,
    cap   integer CHECK (cap >= 1),
    since timestamptz NOT NULL DEFAULT now()
);

CREATE FUNCTION headrace.cap_in_force(gate text, own integer, made timestamptz) RETURNS integer LANGUAGE sql STABLE AS $$
    SELECT COALESCE((SELECT COALESCE(g.cap, 2147483647) FROM headrace.gate AS g WHERE g.name = gate AND g.since > made), own)
$$;
