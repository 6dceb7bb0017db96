-- :find_active
SELECT token_id, kind, publisher_id, app_id, test_only, broadcast, expires_at
FROM api_token WHERE digest = $1 AND revoked_at IS NULL

-- :write_last_used
-- All nodes lock in one order, so that two of them never wait for each other.
UPDATE api_token t SET last_used_at = greatest(t.last_used_at, u.at) FROM (
    SELECT a.token_id, n.at
    FROM unnest($1::uuid[], $2::timestamptz[]) AS n(id, at) JOIN api_token a ON a.token_id = n.id
    ORDER BY a.token_id FOR UPDATE OF a
) u
WHERE t.token_id = u.token_id
