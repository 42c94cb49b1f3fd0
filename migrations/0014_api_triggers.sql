-- Triggers that were made by the API: the keys that they were given, and tokens with which others call them.

ALTER TABLE headrace.trigger ADD COLUMN given json;

-- For API triggers that have no token in their file. Only a digest is stored.
CREATE TABLE headrace.trigger_token (
    trigger_id bigint PRIMARY KEY REFERENCES headrace.trigger (id),
    sha256     bytea NOT NULL UNIQUE CHECK (length(sha256) = 32),
    created_at timestamptz NOT NULL DEFAULT now()
);
