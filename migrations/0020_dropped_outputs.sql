-- Blocks whose outputs were removed although their run is kept: a retry cannot keep them, it must run them again.

ALTER TABLE headrace.block_run ADD COLUMN outputs_dropped boolean NOT NULL DEFAULT false;
