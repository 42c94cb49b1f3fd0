-- name: keep_triggers
-- Record triggers as their files have them; one that somebody made by the API keeps its name.
INSERT INTO headrace.trigger AS t (project_id, pipeline, name, kind, origin, source, status, reason, definition)
SELECT $1, g.pipeline, g.name, g.kind, 'file', g.source, g.status, g.reason, g.definition
FROM unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::json[])
     AS g (pipeline, name, kind, source, status, reason, definition)
ON CONFLICT (project_id, pipeline, name) DO UPDATE
SET kind = excluded.kind, source = excluded.source, status = excluded.status, reason = excluded.reason,
    definition = excluded.definition, updated_at = now()
WHERE t.origin = 'file'
  AND (t.kind, t.source, t.status, COALESCE(t.reason, ''), t.definition::text)
      IS DISTINCT FROM
      (excluded.kind, excluded.source, excluded.status, COALESCE(excluded.reason, ''), excluded.definition::text);

-- name: retire_triggers
-- Switch off the file-made triggers of a project whose files no longer name them; files that were not read ($5) say
-- nothing. What stood for a whole file goes once that file can be read.
WITH mended AS (
    DELETE FROM headrace.trigger AS t
    WHERE t.project_id = $1 AND t.origin = 'file' AND t.status = 'broken' AND t.name = 'triggers.yaml'
      AND NOT EXISTS (SELECT FROM headrace.run AS r WHERE r.trigger_id = t.id)
      AND NOT EXISTS (
          SELECT FROM unnest($2::text[], $3::text[]) AS g (pipeline, name)
          WHERE g.pipeline = t.pipeline AND g.name = t.name)
)
UPDATE headrace.trigger AS t SET status = 'inactive', reason = $4, updated_at = now()
WHERE t.project_id = $1 AND t.origin = 'file' AND (t.status <> 'inactive' OR t.reason IS DISTINCT FROM $4)
  AND NOT (t.name = 'triggers.yaml' AND t.status = 'broken') AND t.pipeline <> ALL ($5::text[])
  AND NOT EXISTS (
      SELECT FROM unnest($2::text[], $3::text[]) AS g (pipeline, name)
      WHERE g.pipeline = t.pipeline AND g.name = t.name);

-- name: tell_unread_triggers
-- Tell beside the active triggers of files that cannot be read why they stay as they were read last.
UPDATE headrace.trigger AS t SET reason = g.reason, updated_at = now()
FROM unnest($2::text[], $3::text[]) AS g (pipeline, reason)
WHERE t.project_id = $1 AND t.origin = 'file' AND t.pipeline = g.pipeline AND t.status = 'active'
  AND t.reason IS DISTINCT FROM g.reason;

-- name: triggers_of
-- Every trigger of a project.
SELECT id, pipeline, name, kind, origin, source, status, reason, definition, created_at, updated_at, enabled_at
FROM headrace.trigger WHERE project_id = $1 ORDER BY pipeline, name;

-- name: triggers_changed_at
-- How many triggers a project has and when one of them last changed: cheap to ask again and again.
SELECT count(*) AS triggers, max(updated_at) AS changed_at FROM headrace.trigger WHERE project_id = $1;

-- name: keep_api_trigger
-- Make or change a trigger that lives in the database; no row where a file has one of this name.
INSERT INTO headrace.trigger AS t (project_id, pipeline, name, kind, origin, source, status, definition, given)
VALUES ($1, $2, $3, $4, 'api', $5, $6, $7, $8)
ON CONFLICT (project_id, pipeline, name) DO UPDATE
SET kind = excluded.kind, origin = 'api', source = excluded.source, status = excluded.status, reason = NULL,
    definition = excluded.definition, given = excluded.given, updated_at = now()
WHERE t.origin = 'api' OR (t.status = 'inactive' AND t.reason = $9)
RETURNING id;

-- name: retire_api_trigger
-- Switch off a trigger that lives in the database, for good; no row where a file has it.
UPDATE headrace.trigger SET status = 'inactive', reason = $2, updated_at = now()
WHERE id = $1 AND origin = 'api' RETURNING id;

-- name: trigger
-- One trigger, with its project and the keys that it was given by the API.
SELECT id, project_id, pipeline, name, kind, origin, source, status, reason, definition, given, created_at, updated_at,
       enabled_at
FROM headrace.trigger WHERE id = $1;

-- name: given_triggers
-- Triggers of a project that live in the database, as they were given; those that were retired are left out.
SELECT id, pipeline, name, given FROM headrace.trigger
WHERE project_id = $1 AND origin = 'api' AND given IS NOT NULL AND reason IS DISTINCT FROM $2
ORDER BY pipeline, name;
