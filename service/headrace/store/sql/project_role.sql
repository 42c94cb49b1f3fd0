-- name: note_project
-- Make sure of a project's row; its name is told by whoever has read its files.
INSERT INTO headrace.project (path, name) VALUES ($1, $2) ON CONFLICT (path) DO NOTHING;

-- name: names_of_blocks
-- The names that the databases and roles of projects' blocks begin with, by the project's folder.
SELECT path, blocks_name FROM headrace.project WHERE blocks_name IS NOT NULL;

-- name: name_blocks
-- Give a project a name for the database of its blocks, or (NULL) take it away.
UPDATE headrace.project SET blocks_name = $2 WHERE path = $1;
