-- Statements of apple_channels.py.

-- :find_channel_for_installation
-- The channel, and its channel at Apple for one bundle identifier in one environment.
SELECT c.message_storage, a.apns_channel_id FROM channel c
LEFT JOIN apple_channel a ON a.app_id = c.app_id AND a.channel_id = c.channel_id AND a.remove_at IS NULL
     AND a.environment = $3 AND a.bundle_id = $4
WHERE c.app_id = $1 AND c.channel_id = $2

-- :lock_channel
-- Keeps the channel from being deleted until the end of the transaction.
SELECT true FROM channel WHERE app_id = $1 AND channel_id = $2 FOR SHARE

-- :store_apple_channel
-- A channel at Apple that is not used is stored with $8, the time from which it is to be removed.
INSERT INTO apple_channel (app_id, channel_id, environment, bundle_id, apns_channel_id, team_id, created_at, remove_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING

-- :lease_removals
-- Channels that are to be removed at Apple. Until $2 no other node tries.
WITH due AS (
    SELECT app_id, channel_id, environment, bundle_id, apns_channel_id FROM apple_channel
    WHERE remove_at <= $1 ORDER BY remove_at LIMIT $3 FOR UPDATE SKIP LOCKED
)
UPDATE apple_channel a SET remove_at = $2 FROM due k
WHERE a.app_id = k.app_id AND a.channel_id = k.channel_id AND a.environment = k.environment
      AND a.bundle_id = k.bundle_id AND a.apns_channel_id = k.apns_channel_id
RETURNING a.app_id, a.channel_id, a.team_id, a.environment, a.bundle_id, a.apns_channel_id, a.attempt

-- :postpone_removal
UPDATE apple_channel a SET remove_at = r.remove_at, attempt = r.attempt FROM unnest($1::apple_channel_row[]) r
WHERE a.app_id = r.app_id AND a.channel_id = r.channel_id AND a.environment = r.environment
      AND a.bundle_id = r.bundle_id AND a.apns_channel_id = r.apns_channel_id

-- :forget_apple_channels
DELETE FROM apple_channel a USING unnest($1::apple_channel_row[]) r
WHERE a.app_id = r.app_id AND a.channel_id = r.channel_id AND a.environment = r.environment
      AND a.bundle_id = r.bundle_id AND a.apns_channel_id = r.apns_channel_id
