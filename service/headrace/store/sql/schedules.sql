-- name: keep_schedule_patterns
-- Record what decides the slots of some schedules; where that changed, slots count from now on ($4).
INSERT INTO headrace.schedule_state AS s (project_id, source, pattern)
SELECT * FROM unnest($1::bigint[], $2::text[], $3::text[])
ON CONFLICT (project_id, source) DO UPDATE
SET pattern = excluded.pattern, counts_from = CASE WHEN s.pattern IS NULL THEN s.counts_from ELSE $4::timestamptz END
WHERE s.pattern IS DISTINCT FROM excluded.pattern;

-- name: schedule_progress
-- How far the schedules of some triggers have come.
SELECT t.id AS trigger_id, t.enabled_at, s.counts_from, s.last_slot
FROM headrace.trigger AS t
LEFT JOIN headrace.schedule_state AS s ON s.project_id = t.project_id AND s.source = t.source
WHERE t.id = ANY ($1::bigint[]);

-- name: schedule_progress_by_name
-- How far the schedule of a trigger has come that is told by its pipeline and its name.
SELECT t.id AS trigger_id, t.enabled_at, s.counts_from, s.last_slot
FROM headrace.trigger AS t
LEFT JOIN headrace.schedule_state AS s ON s.project_id = t.project_id AND s.source = t.source
WHERE t.project_id = $1 AND t.pipeline = $2 AND t.name = $3;

-- name: begin_catching_up
-- Make up for the slots of a schedule after $3 and up to $4; those that were still to be made up for before stay.
INSERT INTO headrace.catching_up AS c (project_id, source, slots_after, slots_until) VALUES ($1, $2, $3, $4)
ON CONFLICT (project_id, source) DO UPDATE
SET slots_after = GREATEST(LEAST(c.slots_after, excluded.slots_after), $5::timestamptz),
    slots_until = GREATEST(c.slots_until, excluded.slots_until);

-- name: drop_catching_up
-- Make up for no more slots of some schedules.
DELETE FROM headrace.catching_up AS c
USING unnest($1::bigint[], $2::text[]) AS g (project_id, source)
WHERE c.project_id = g.project_id AND c.source = g.source;

-- name: note_passed_slot
-- Count a schedule's slots up to $3 as seen to.
UPDATE headrace.schedule_state SET last_slot = $3
WHERE project_id = $1 AND source = $2 AND (last_slot IS NULL OR last_slot < $3::timestamptz);

-- name: catching_up_due_in
-- Seconds until some schedule among these has a slot to be made up for; no row where none has.
SELECT EXTRACT(EPOCH FROM min(c.due_at) - now())::float8 AS seconds
FROM headrace.catching_up AS c
JOIN unnest($1::bigint[], $2::text[]) AS g (project_id, source) USING (project_id, source)
HAVING min(c.due_at) IS NOT NULL;

-- name: catching_up_of
-- Which slots of some schedules are still to be made up for.
SELECT c.project_id, c.source, c.slots_after, c.slots_until
FROM headrace.catching_up AS c
JOIN unnest($1::bigint[], $2::text[]) AS g (project_id, source) USING (project_id, source);

-- name: take_catching_up
-- A schedule among these with slots to be made up for now, locked for the transaction; others take others.
SELECT c.project_id, c.source, c.slots_after, c.slots_until
FROM headrace.catching_up AS c
JOIN unnest($1::bigint[], $2::text[]) AS g (project_id, source) USING (project_id, source)
WHERE c.due_at <= now()
ORDER BY c.due_at LIMIT 1
FOR UPDATE OF c SKIP LOCKED;

-- name: go_on_catching_up
-- A schedule's slots up to $3 are made up for; the next one is due in $4 seconds.
UPDATE headrace.catching_up SET slots_after = $3, due_at = now() + $4::float8 * interval '1 second'
WHERE project_id = $1 AND source = $2;

-- name: always_on_without_run
-- Those of some triggers that have no run and no batch under way, with their last event and whether it made a run.
SELECT t.id AS trigger_id, COALESCE(last.id, 0) AS last_event, COALESCE(last.made_run, true) AS made_run,
       COALESCE(EXTRACT(EPOCH FROM now() - last.received_at), 0)::float8 AS seconds_ago
FROM headrace.trigger AS t
LEFT JOIN LATERAL (
    SELECT e.id, e.received_at,
           EXISTS (SELECT FROM headrace.event_fate AS f WHERE f.event_id = e.id AND f.fate = 'run') AS made_run
    FROM headrace.event AS e
    WHERE e.project_id = t.project_id AND e.source = t.source
    ORDER BY e.id DESC LIMIT 1
) AS last ON true
WHERE t.id = ANY ($1::bigint[])
  AND NOT EXISTS (SELECT FROM headrace.run AS r WHERE r.trigger_id = t.id AND r.status IN ('initial', 'running'))
  AND NOT EXISTS (SELECT FROM headrace.event_fate AS f WHERE f.trigger_id = t.id AND f.fate = 'waiting');

-- name: recent_runtimes
-- Seconds from creation to end of the last completed runs (at most seven) of each of some triggers.
SELECT t.id AS trigger_id, r.seconds
FROM headrace.trigger AS t
CROSS JOIN LATERAL (
    SELECT EXTRACT(EPOCH FROM r.finished_at - r.created_at)::float8 AS seconds
    FROM headrace.event AS e
    JOIN headrace.event_fate AS f ON f.event_id = e.id AND f.trigger_id = t.id
    JOIN headrace.run AS r ON r.id = f.run_id
    WHERE e.project_id = t.project_id AND e.source = t.source AND r.status = 'completed'
    ORDER BY e.id DESC LIMIT 7
) AS r
WHERE t.id = ANY ($1::bigint[]);
