-- :was_seen
SELECT greatest(t.registered_at, s.seen_at) > $5
FROM device_token t LEFT JOIN sighting s ON s.app_id = t.app_id AND s.installation_id = t.installation_id
WHERE t.app_id = $1 AND t.installation_id = $2 AND t.kind = $3 AND t.token = $4 AND t.retired_at IS NULL

-- :record_sighting
INSERT INTO sighting (app_id, installation_id, seen_at) VALUES ($1, $2, $3)
ON CONFLICT (app_id, installation_id) DO UPDATE SET seen_at = excluded.seen_at

-- :hold_installation
-- The installation must not be retired before the token is stored. A transaction that retires it waits for this lock,
-- and then sees the token.
SELECT true FROM installation
WHERE app_id = $1 AND installation_id = $2 AND serial = $3 AND retired_at IS NULL FOR SHARE

-- :lock
-- Locks both rows in the order of their key, so that two installations that exchange tokens do not wait for each other.
SELECT installation_id, kind FROM device_token
WHERE app_id = $1 AND (installation_id = $2 AND kind = $3 OR token = $4 AND retired_at IS NULL)
ORDER BY installation_id, kind FOR UPDATE

-- :retire_elsewhere
UPDATE device_token SET retired_at = $5, retired_reason = 'moved'
WHERE app_id = $1 AND token = $4 AND retired_at IS NULL AND (installation_id, kind) <> ($2, $3)

-- :store
INSERT INTO device_token (app_id, installation_id, kind, token, registered_at)
SELECT $1, $2, $3, $4, $5
WHERE (
    SELECT count(*) FROM (
        SELECT FROM device_token
        WHERE app_id = $1 AND installation_id = $2 AND kind <> $3 AND retired_at IS NULL LIMIT $6
    ) AS others
) < $6
ON CONFLICT (app_id, installation_id, kind) DO UPDATE SET
    token = excluded.token, registered_at = excluded.registered_at, retired_at = NULL, retired_reason = NULL

-- :withdraw
UPDATE device_token SET retired_at = $4, retired_reason = 'withdrawn'
WHERE app_id = $1 AND installation_id = $2 AND kind = $3 AND retired_at IS NULL

-- :delete_ended_activities
DELETE FROM device_token
WHERE app_id = $1 AND installation_id = $2 AND kind LIKE 'liveactivity:%'
      AND (retired_at IS NOT NULL OR registered_at < $3)

-- :retire_all
WITH tokens AS (
    SELECT t.app_id, t.installation_id, t.kind, given.reason
    FROM unnest($1::text[], $2::bigint[], $3::text[]) AS given (app_id, installation_id, reason)
    JOIN device_token t ON t.app_id = given.app_id AND t.installation_id = given.installation_id
    WHERE t.retired_at IS NULL
    ORDER BY t.app_id, t.installation_id, t.kind
    FOR UPDATE OF t
)
UPDATE device_token t SET retired_at = $4, retired_reason = tokens.reason
FROM tokens
WHERE t.app_id = tokens.app_id AND t.installation_id = tokens.installation_id AND t.kind = tokens.kind
