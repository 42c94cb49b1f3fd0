-- Tokens with which programs and people use the HTTP API. The tokens themselves are never stored.

CREATE TABLE headrace.token (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name         text NOT NULL CHECK (name <> ''),
    sha256       bytea NOT NULL UNIQUE CHECK (length(sha256) = 32),
    scopes       text[] NOT NULL
        CHECK (cardinality(scopes) > 0 AND scopes <@ ARRAY['read', 'run', 'edit', 'admin']),
    created_at   timestamptz NOT NULL DEFAULT now(),
    expires_at   timestamptz,
    last_used_at timestamptz,
    revoked_at   timestamptz
);

-- The name of a revoked token is free again.
CREATE UNIQUE INDEX token_name_in_use ON headrace.token (name) WHERE revoked_at IS NULL;
