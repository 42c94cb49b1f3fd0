-- name: some_run_waits_for_admission
-- Whether a project has a run that nobody looked at its gates for yet.
SELECT EXISTS (
    SELECT FROM headrace.run
    WHERE project_id = $1 AND status = 'initial' AND gates IS NOT NULL AND admitted_at IS NULL AND parked_on IS NULL
      AND ($2::bigint[] IS NULL OR id = ANY ($2)));

-- name: lock_admissions
-- Let nobody else admit runs of a project until the transaction ends.
SELECT pg_advisory_xact_lock(hashtextextended('headrace admissions', $1::bigint));

-- name: runs_to_admit
-- Runs of a project that wait for admission, in their order, with the caps of their gates that are in force.
SELECT r.id, r.gates,
       ARRAY(SELECT headrace.cap_in_force(g.name, g.cap, r.created_at)
             FROM unnest(r.gates, r.gate_caps) WITH ORDINALITY AS g (name, cap, place) ORDER BY g.place) AS gate_caps
FROM headrace.run AS r
WHERE r.project_id = $1 AND r.status = 'initial' AND r.gates IS NOT NULL AND r.admitted_at IS NULL
  AND r.parked_on IS NULL AND ($2::bigint[] IS NULL OR r.id = ANY ($2))
ORDER BY r.rank, r.id LIMIT $3 FOR UPDATE SKIP LOCKED;

-- name: crowded_gates
-- Each gate at which runs of a project wait, with the cap in force for the next of them; no cap is told as none.
WITH RECURSIVE gate AS (
    (SELECT parked_on AS name FROM headrace.run
     WHERE status = 'initial' AND parked_on IS NOT NULL ORDER BY parked_on LIMIT 1)
    UNION ALL
    SELECT (SELECT r.parked_on FROM headrace.run AS r
            WHERE r.status = 'initial' AND r.parked_on > gate.name ORDER BY r.parked_on LIMIT 1)
    FROM gate WHERE gate.name IS NOT NULL
)
SELECT gate.name, h.pipeline, h.trigger_id,
       NULLIF(headrace.cap_in_force(gate.name, h.gate_caps[array_position(h.gates, gate.name)], h.created_at),
              2147483647) AS cap
FROM gate CROSS JOIN LATERAL (
    SELECT r.project_id, r.pipeline, r.trigger_id, r.gates, r.gate_caps, r.created_at FROM headrace.run AS r
    WHERE r.parked_on = gate.name AND r.status = 'initial' ORDER BY r.rank, r.id LIMIT 1
) AS h
WHERE gate.name IS NOT NULL AND h.project_id = $1;

-- name: keep_caps
-- The caps of gates from now on; none for those that limit nothing any more.
INSERT INTO headrace.gate (name, cap) SELECT * FROM unnest($1::text[], $2::int[])
ON CONFLICT (name) DO UPDATE SET cap = excluded.cap, since = now();

-- name: cap_in_force
-- The cap that counts for a run at one of its gates.
SELECT NULLIF(headrace.cap_in_force($2, r.gate_caps[array_position(r.gates, $2)], r.created_at), 2147483647)
FROM headrace.run AS r WHERE r.id = $1;

-- name: forget_caps
-- Forget changes of caps that every run that still waits was made after.
DELETE FROM headrace.gate
WHERE since < (SELECT COALESCE(min(created_at), now()) FROM headrace.run WHERE status = 'initial');

-- name: active_in_gates
-- How many active runs passed each of some gates.
SELECT gate, count(*) AS active FROM headrace.admission WHERE gate = ANY ($1::text[]) GROUP BY gate;

-- name: record_admissions
-- Admit runs through their gates, and park others at a full one.
WITH admitted AS (
    UPDATE headrace.run SET admitted_at = now() WHERE id = ANY ($1::bigint[]) AND status = 'initial'
    RETURNING id, gates
), passed AS (
    INSERT INTO headrace.admission (gate, run_id) SELECT unnest(gates), id FROM admitted
)
UPDATE headrace.run AS r SET parked_on = p.gate
FROM unnest($2::bigint[], $3::text[]) AS p (run_id, gate) WHERE r.id = p.run_id;

-- name: unpark_runs
-- Let the next runs of every gate with room be looked at again: for caps that grew and runs that found another gate full.
WITH RECURSIVE gate AS (
    (SELECT parked_on AS name FROM headrace.run
     WHERE status = 'initial' AND parked_on IS NOT NULL ORDER BY parked_on LIMIT 1)
    UNION ALL
    SELECT (SELECT r.parked_on FROM headrace.run AS r
            WHERE r.status = 'initial' AND r.parked_on > gate.name ORDER BY r.parked_on LIMIT 1)
    FROM gate WHERE gate.name IS NOT NULL
), room AS (
    SELECT gate.name, h.cap - (SELECT count(*) FROM headrace.admission AS a WHERE a.gate = gate.name) AS free
    FROM gate CROSS JOIN LATERAL (
        SELECT headrace.cap_in_force(gate.name, r.gate_caps[array_position(r.gates, gate.name)], r.created_at) AS cap
        FROM headrace.run AS r
        WHERE r.parked_on = gate.name AND r.status = 'initial' ORDER BY r.rank, r.id LIMIT 1
    ) AS h
    WHERE gate.name IS NOT NULL
), next_run AS (
    SELECT n.id FROM room CROSS JOIN LATERAL (
        SELECT r.id FROM headrace.run AS r
        WHERE r.parked_on = room.name AND r.status = 'initial' AND r.project_id = $1
        ORDER BY r.rank, r.id LIMIT greatest(room.free, 0) FOR UPDATE SKIP LOCKED
    ) AS n
)
UPDATE headrace.run AS r SET parked_on = NULL FROM next_run WHERE r.id = next_run.id RETURNING r.id;

-- name: passed_gates
-- Active runs that passed a gate, the oldest first.
SELECT r.id, r.status, r.pipeline, r.started_at
FROM headrace.admission AS a JOIN headrace.run AS r ON r.id = a.run_id
WHERE a.gate = $1 ORDER BY r.id LIMIT $2;

-- name: ahead_at_gate
-- How many runs wait at a gate before a run.
SELECT count(*) FROM headrace.run AS r, headrace.run AS mine
WHERE mine.id = $2 AND r.parked_on = $1 AND r.status = 'initial' AND (r.rank, r.id) < (mine.rank, mine.id);
