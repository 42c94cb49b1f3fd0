-- What the names of a project's own database and role in the embedded server begin with: two folders of one name get
-- two databases. NULL until it is first made.

ALTER TABLE headrace.project ADD COLUMN blocks_name text UNIQUE;
