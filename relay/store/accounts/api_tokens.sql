-- :insert
INSERT INTO api_token (digest, token_id, kind, publisher_id, app_id, label, test_only, broadcast, created_at,
                       expires_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)

-- :list_push_tokens
SELECT token_id, label, test_only, broadcast, created_at, expires_at, last_used_at FROM api_token
WHERE app_id = $1 AND kind = 'push' AND revoked_at IS NULL AND token_id > $2 ORDER BY token_id LIMIT $3

-- :list_tokens
SELECT token_id, kind, publisher_id, app_id, label, test_only, broadcast, created_at, expires_at, revoked_at,
       last_used_at
FROM api_token
WHERE token_id > $1 AND ($3::text IS NULL OR kind = $3) AND ($4::uuid IS NULL OR publisher_id = $4)
  AND ($5::text IS NULL OR app_id = $5) AND ($6 OR revoked_at IS NULL)
  AND ($7::timestamptz IS NULL OR greatest(created_at, last_used_at) < $7)
ORDER BY token_id LIMIT $2

-- :find_by_digest
SELECT token_id, kind, publisher_id, app_id, label, test_only, broadcast, created_at, expires_at, revoked_at,
       last_used_at
FROM api_token WHERE digest = $1

-- :revoke
UPDATE api_token SET revoked_at = $2 WHERE token_id = $1 AND revoked_at IS NULL
RETURNING kind, publisher_id, app_id, label

-- :revoke_push_token
UPDATE api_token SET revoked_at = $2 WHERE token_id = $1 AND revoked_at IS NULL AND app_id = $3 AND kind = 'push'
RETURNING kind, publisher_id, app_id, label
