-- name: keep_pools
-- Record the sizes of a project's pools.
INSERT INTO headrace.pool AS p (project_id, name, size)
SELECT $1, g.name, g.size FROM unnest($2::text[], $3::int[]) AS g (name, size)
ON CONFLICT (project_id, name) DO UPDATE SET size = excluded.size WHERE p.size <> excluded.size;

-- name: ask_for_slots
-- Let blocks wait for slots; one that asked under an older fencing token asks anew.
INSERT INTO headrace.slot AS s (run_id, block, pool, project_id, fence, slots, rank)
SELECT g.run_id, g.block, g.pool, r.project_id, g.fence, g.slots, r.rank
FROM unnest($1::bigint[], $2::text[], $3::text[], $4::bigint[], $5::int[]) AS g (run_id, block, pool, fence, slots)
JOIN headrace.run AS r ON r.id = g.run_id
ON CONFLICT (run_id, block, pool) DO UPDATE
SET fence = excluded.fence, slots = excluded.slots, asked_at = now(), granted_at = NULL
WHERE s.fence < excluded.fence;

-- name: lock_slots
-- Let nobody else grant slots of a project until the transaction ends.
SELECT pg_advisory_xact_lock(hashtextextended('headrace slots', $1::bigint));

-- name: fence_off_dead_holders
-- Runs that hold slots while nobody with a live lease drives them get a new fencing token, so that whoever drove them can
-- record nothing more: only then are their slots free. Some service takes such a run up later.
WITH dead AS (
    SELECT r.id FROM headrace.run AS r
    WHERE r.status = 'running'
      AND EXISTS (SELECT FROM headrace.slot AS s
                  WHERE s.project_id = $1 AND s.run_id = r.id AND s.fence = r.fence AND s.granted_at IS NOT NULL)
      AND NOT EXISTS (SELECT FROM headrace.service AS v WHERE v.id = r.owner AND v.lease_until > now())
    ORDER BY r.id FOR UPDATE OF r SKIP LOCKED
), fenced AS (
    UPDATE headrace.run AS r SET owner = NULL, fence = r.fence + 1 FROM dead WHERE r.id = dead.id
    RETURNING r.id, r.fence
)
UPDATE headrace.run_step AS h SET fence = fenced.fence FROM fenced WHERE h.run_id = fenced.id;

-- name: drop_dead_slots
-- Forget slots of runs that ended, or that are driven under another token than they were asked with.
DELETE FROM headrace.slot AS s
WHERE s.project_id = $1 AND NOT EXISTS (
    SELECT FROM headrace.run AS r
    WHERE r.id = s.run_id AND r.fence = s.fence AND r.status IN ('initial', 'running'));

-- name: slots_of_project
-- Every slot of a project, held or waited for, in the order in which they are granted.
SELECT run_id, block, pool, slots, granted_at IS NOT NULL AS granted
FROM headrace.slot WHERE project_id = $1 ORDER BY rank, asked_at, run_id, block;

-- name: pool_sizes
-- The sizes of a project's pools.
SELECT name, size FROM headrace.pool WHERE project_id = $1;

-- name: note_granted_slots
-- Slots that are held from now on.
UPDATE headrace.slot AS s SET granted_at = now()
FROM unnest($1::bigint[], $2::text[]) AS g (run_id, block)
WHERE s.run_id = g.run_id AND s.block = g.block AND s.granted_at IS NULL;

-- name: slots_of_runs
-- Which blocks of some runs wait for slots or hold them; all that a block asked for are granted at once.
SELECT s.run_id, s.block, bool_and(s.granted_at IS NOT NULL) AS granted FROM headrace.slot AS s
WHERE s.run_id = ANY ($1::bigint[])
GROUP BY s.run_id, s.block;

-- name: release_slots
-- Slots that nobody needs any more; those that another service asked for under a newer token are its own.
DELETE FROM headrace.slot AS s
USING unnest($1::bigint[], $2::text[], $3::bigint[]) AS g (run_id, block, fence)
WHERE s.run_id = g.run_id AND s.block = g.block AND s.fence <= g.fence;

-- name: slots_in_the_way
-- For a block that waits: each pool that it waits for, its size, who holds it and how many wait before it.
SELECT m.pool, p.size,
       ARRAY(SELECT 'run ' || h.run_id || ' block ' || h.block FROM headrace.slot AS h
             WHERE h.project_id = m.project_id AND h.pool = m.pool AND h.granted_at IS NOT NULL
             ORDER BY h.granted_at LIMIT 5) AS holders,
       (SELECT count(*) FROM headrace.slot AS w
        WHERE w.project_id = m.project_id AND w.pool = m.pool AND w.granted_at IS NULL
          AND (w.rank, w.asked_at, w.run_id, w.block) < (m.rank, m.asked_at, m.run_id, m.block)) AS ahead
FROM headrace.slot AS m LEFT JOIN headrace.pool AS p ON p.project_id = m.project_id AND p.name = m.pool
WHERE m.run_id = $1 AND m.block = $2 AND m.granted_at IS NULL
ORDER BY m.pool;
