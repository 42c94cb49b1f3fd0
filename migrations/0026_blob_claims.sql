-- A blob that several runs took for their own before any of them recorded its output: it stays until the last has ended.

ALTER TABLE headrace.blob ADD COLUMN other_runs bigint[] NOT NULL DEFAULT '{}';
