-- Sensors: which service looks for each, what their looks came to, and what people do with them.

-- name: keep_sensors
-- Record the sensors of a project that triggers listen to, with their settings as they are now; what is recorded
-- already is not touched, since somebody may be holding its row.
INSERT INTO headrace.sensor AS s (project_id, name, settings)
SELECT $1, given.name, given.settings
FROM unnest($2::text[], $3::json[]) AS given (name, settings)
WHERE NOT EXISTS (
    SELECT FROM headrace.sensor AS k
    WHERE k.project_id = $1 AND k.name = given.name AND k.settings::text = given.settings::text)
ON CONFLICT (project_id, name) DO UPDATE SET settings = excluded.settings;

-- name: renew_sensor_lease
-- Prolong the lease of a service that looks for sensors, recording it at first; tells which sensors it still holds.
WITH lease AS (
    INSERT INTO headrace.service AS s (id, host, pid, lease_until)
    VALUES ($1, $2, $3, now() + $4::float8 * interval '1 second')
    ON CONFLICT (id) DO UPDATE SET lease_until = greatest(s.lease_until, excluded.lease_until)
)
SELECT id, fence FROM headrace.sensor WHERE owner = $1;

-- name: claim_sensors
-- Take sensors that no live service looks for, under a new fencing token; ours too, but for those still running here.
WITH free AS (
    SELECT s.id
    FROM headrace.sensor AS s
    WHERE s.project_id = $2
      AND s.name = ANY ($3::text[])
      AND s.paused_at IS NULL
      AND s.id <> ALL ($4::bigint[])
      AND (s.owner IS NULL OR s.owner = $1 OR NOT EXISTS (
          SELECT FROM headrace.service AS v WHERE v.id = s.owner AND v.lease_until > now()))
    FOR UPDATE OF s SKIP LOCKED
)
UPDATE headrace.sensor AS s
SET owner = $1, fence = s.fence + 1
FROM free
WHERE s.id = free.id
RETURNING s.id, s.name, s.fence, s.seq, s.cursor, s.round, s.failures,
          greatest(extract(epoch FROM s.next_look_at - now()), 0)::float8 AS due_in;

-- name: release_sensors
-- Give back sensors of a service, all of them where no ids are given, so that another may take them at once.
UPDATE headrace.sensor SET owner = NULL WHERE owner = $1 AND ($2::bigint[] IS NULL OR id = ANY ($2));

-- name: forget_sensor_service
-- The end of a service that looked for sensors.
DELETE FROM headrace.service AS s
WHERE s.id = $1 AND NOT EXISTS (SELECT FROM headrace.run AS r WHERE r.owner = s.id);

-- name: advance_sensor
-- Count a delivery and move the cursor with it, only while the service still holds the sensor and only once. The server
-- ends the transaction when nothing is heard of it for $9 ms: a service that stands still must not hold the row.
WITH moved AS (
    UPDATE headrace.sensor AS s
    SET seq = s.seq + 1,
        cursor = CASE WHEN $5 THEN $6::json ELSE s.cursor END,
        delivered = s.delivered + $7::integer,
        delivered_at = CASE WHEN $7::integer > 0 THEN now() ELSE s.delivered_at END,
        lag = CASE WHEN $7::integer > 0 THEN $8::real ELSE s.lag END,
        failures = 0
    WHERE s.id = $1 AND s.owner = $2 AND s.fence = $3 AND s.seq = $4 - 1
    RETURNING s.id, s.seq, s.cursor
), kept AS (
    INSERT INTO headrace.sensor_cursor (sensor_id, seq, cursor)
    SELECT id, seq, cursor FROM moved
    WHERE $5 AND NOT EXISTS (
        SELECT FROM headrace.sensor_cursor AS c
        WHERE c.sensor_id = moved.id AND c.kept_at > now() - interval '10 seconds')
    RETURNING sensor_id
), dropped AS (
    DELETE FROM headrace.sensor_cursor AS c
    USING kept WHERE c.sensor_id = kept.sensor_id AND c.kept_at < now() - interval '30 days'
)
SELECT seq, set_config('idle_in_transaction_session_timeout', $9, true) FROM moved;

-- name: sensor_stand
-- Where a sensor's deliveries stand, to learn whether one whose answer was lost had been committed.
SELECT owner, fence, seq FROM headrace.sensor WHERE id = $1;

-- name: note_looks
-- What looks came to, each only where its service still holds the sensor; times as seconds before and after now.
UPDATE headrace.sensor AS s
SET looked_at = now() - n.ago * interval '1 second',
    next_look_at = now() + n.due_in * interval '1 second',
    late = n.late,
    failures = n.failures,
    error = COALESCE(n.error, s.error),
    error_at = CASE WHEN n.error IS NULL THEN s.error_at ELSE now() END
FROM unnest($2::bigint[], $3::bigint[], $4::float8[], $5::float8[], $6::real[], $7::integer[], $8::json[])
     AS n (id, fence, ago, due_in, late, failures, error)
WHERE s.id = n.id AND s.owner = $1 AND s.fence = n.fence;

-- name: sensors
-- The sensors of some projects, or the one of a name or an id, with who looks for each and which triggers listen.
SELECT s.*, p.name AS project, v.host, v.pid,
       ARRAY(SELECT t.pipeline || '/' || t.name FROM headrace.trigger AS t
             WHERE t.project_id = s.project_id AND t.status = 'active' AND t.source = 'sensor:' || s.name
             ORDER BY 1) AS triggers
FROM headrace.sensor AS s
JOIN headrace.project AS p ON p.id = s.project_id
LEFT JOIN headrace.service AS v ON v.id = s.owner AND v.lease_until > now()
WHERE s.project_id = ANY ($1::bigint[]) AND ($2::text IS NULL OR s.name = $2) AND ($3::bigint IS NULL OR s.id = $3)
ORDER BY p.name, s.name;

-- name: sensor_figures
-- What is counted of the sensors of some projects.
SELECT p.name AS project, s.name, s.failures, s.lag, s.delivered, s.paused_at, v.host,
       extract(epoch FROM now() - s.looked_at)::float8 AS looked_ago,
       extract(epoch FROM now() - s.delivered_at)::float8 AS gave_ago,
       EXISTS (SELECT FROM headrace.trigger AS t
               WHERE t.project_id = s.project_id AND t.status = 'active' AND t.source = 'sensor:' || s.name) AS triggers
FROM headrace.sensor AS s
JOIN headrace.project AS p ON p.id = s.project_id
LEFT JOIN headrace.service AS v ON v.id = s.owner AND v.lease_until > now()
WHERE s.project_id = ANY ($1::bigint[])
ORDER BY p.name, s.name;

-- name: pause_sensor
-- Stop looking for a sensor until it is resumed.
UPDATE headrace.sensor SET paused_at = COALESCE(paused_at, now()), owner = NULL, fence = fence + 1
WHERE project_id = $1 AND name = $2
RETURNING id;

-- name: resume_sensor
-- Look for a sensor again, at once.
UPDATE headrace.sensor SET paused_at = NULL, failures = 0, next_look_at = NULL
WHERE project_id = $1 AND name = $2
RETURNING id;

-- name: set_sensor_cursor
-- Put a sensor's cursor; whoever looks for it begins anew there. With `again`, keys of old events count as new.
WITH moved AS (
    UPDATE headrace.sensor
    SET cursor = $3::json, seq = seq + 1, round = round + $4::boolean::integer,
        owner = NULL, fence = fence + 1, next_look_at = NULL
    WHERE project_id = $1 AND name = $2
    RETURNING id, seq, cursor
), kept AS (
    INSERT INTO headrace.sensor_cursor (sensor_id, seq, cursor) SELECT id, seq, cursor FROM moved
)
SELECT id FROM moved;

-- name: sensor_cursor_at
-- A sensor's cursor as it was at a time; no row where it had none yet or that is forgotten.
SELECT c.cursor, c.kept_at
FROM headrace.sensor_cursor AS c JOIN headrace.sensor AS s ON s.id = c.sensor_id
WHERE s.project_id = $1 AND s.name = $2 AND c.kept_at <= $3
ORDER BY c.kept_at DESC, c.seq DESC LIMIT 1;

-- name: sensor_cursors
-- The newest kept cursors of a sensor.
SELECT c.cursor, c.kept_at
FROM headrace.sensor_cursor AS c JOIN headrace.sensor AS s ON s.id = c.sensor_id
WHERE s.project_id = $1 AND s.name = $2
ORDER BY c.kept_at DESC, c.seq DESC LIMIT $3;
