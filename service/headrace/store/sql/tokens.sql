-- name: create_token
-- A new token; no row when a live one has its name already.
INSERT INTO headrace.token (name, sha256, scopes, expires_at) VALUES ($1, $2, $3, $4)
ON CONFLICT (name) WHERE revoked_at IS NULL DO NOTHING
RETURNING id, name, scopes, created_at, expires_at, last_used_at, revoked_at;

-- name: keep_token
-- Make sure of a token that a file holds. One that was revoked stays so, and its row tells.
INSERT INTO headrace.token (name, sha256, scopes) VALUES ($1, $2, $3)
ON CONFLICT (sha256) DO UPDATE SET sha256 = excluded.sha256
RETURNING id, revoked_at;

-- name: lock_token_name
-- Let nobody else record a token of a name until the transaction ends.
SELECT pg_advisory_xact_lock(hashtextextended('headrace token ' || $1::text, 0));

-- name: revoke_namesake
-- End the live token of a name unless it has this digest, or the token with this digest was revoked itself.
UPDATE headrace.token SET revoked_at = now()
WHERE name = $1 AND sha256 <> $2 AND revoked_at IS NULL
  AND NOT EXISTS (SELECT FROM headrace.token AS t WHERE t.sha256 = $2 AND t.revoked_at IS NOT NULL);

-- name: use_token
-- The live token with a digest. Its last use is noted, at most once a minute.
WITH found AS (
    SELECT id, name, sha256, scopes, last_used_at FROM headrace.token
    WHERE sha256 = $1 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now())
), noted AS (
    UPDATE headrace.token AS t SET last_used_at = now()
    FROM found
    WHERE t.id = found.id AND (found.last_used_at IS NULL OR found.last_used_at < now() - interval '1 minute')
)
SELECT id, name, sha256, scopes FROM found;

-- name: tokens
-- A page of tokens, newest first, before an id; those that were revoked too.
SELECT id, name, scopes, created_at, expires_at, last_used_at, revoked_at
FROM headrace.token WHERE ($1::bigint IS NULL OR id < $1) ORDER BY id DESC LIMIT $2;

-- name: revoke_token
-- End a token at once; no row when there is no such token.
UPDATE headrace.token SET revoked_at = COALESCE(revoked_at, now()) WHERE id = $1
RETURNING id, name, scopes, created_at, expires_at, last_used_at, revoked_at;

-- name: live_tokens
-- How many tokens can be used now.
SELECT count(*) FROM headrace.token WHERE revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now());

-- name: keep_trigger_token
-- Give a trigger a token, in place of the one it had.
INSERT INTO headrace.trigger_token (trigger_id, sha256) VALUES ($1, $2)
ON CONFLICT (trigger_id) DO UPDATE SET sha256 = excluded.sha256, created_at = now();

-- name: trigger_of_token
-- The trigger that a token calls.
SELECT trigger_id FROM headrace.trigger_token WHERE sha256 = $1;
