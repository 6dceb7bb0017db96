-- :insert
INSERT INTO console_session (digest, token_id, created_at, seen_at) VALUES ($1, $2, $3, $3)

-- :find
SELECT s.seen_at, t.token_id, t.kind, t.publisher_id, t.app_id, t.test_only, t.broadcast, t.expires_at
FROM console_session s JOIN api_token t ON t.token_id = s.token_id
WHERE s.digest = $1 AND s.seen_at > $2 AND t.revoked_at IS NULL AND (t.expires_at IS NULL OR t.expires_at > $3)

-- :mark_seen
UPDATE console_session SET seen_at = $2 WHERE digest = $1 AND seen_at < $2

-- :delete
DELETE FROM console_session WHERE digest = $1

-- :delete_idle
DELETE FROM console_session WHERE digest = ANY (ARRAY(
    SELECT digest FROM console_session WHERE seen_at < $1 ORDER BY seen_at LIMIT $2
))
