-- Statements of channels.py: channels as their publishers and installations see them, and pushes to them.

-- :create_channel
-- Creates a channel unless the app has $5 of them.
INSERT INTO channel (app_id, channel_id, message_storage, created_at)
SELECT $1, $2, $3, $4 WHERE (
    SELECT count(*) FROM (SELECT FROM channel WHERE app_id = $1 LIMIT $5) AS others
) < $5

-- :list_channels
-- `bundle_ids`: the number of channels at Apple that the channel stands for.
SELECT c.app_id, c.channel_id, c.message_storage, c.created_at, (
    SELECT count(*) FROM apple_channel a
    WHERE a.app_id = c.app_id AND a.channel_id = c.channel_id AND a.remove_at IS NULL
) AS bundle_ids
FROM channel c
WHERE c.app_id = ANY($1::text[]) AND c.channel_id > $2 ORDER BY c.channel_id LIMIT $3

-- :find_channel
SELECT c.app_id, c.channel_id, c.message_storage, c.created_at, (
    SELECT count(*) FROM apple_channel a
    WHERE a.app_id = c.app_id AND a.channel_id = c.channel_id AND a.remove_at IS NULL
) AS bundle_ids
FROM channel c
WHERE c.app_id = ANY($1::text[]) AND c.channel_id = $2

-- :lock_channel_for_deletion
-- A statement of its own: rows stored under a share lock of the channel are seen by the next statement only.
SELECT true FROM channel WHERE app_id = $1 AND channel_id = $2 FOR UPDATE

-- :delete_channel
-- Deletes a channel with its pushes. Its channels at Apple are to be removed from $3 on.
WITH deleted AS (
    DELETE FROM channel WHERE app_id = $1 AND channel_id = $2 RETURNING app_id, channel_id
), pushes AS (
    DELETE FROM channel_push p USING deleted d WHERE p.app_id = d.app_id AND p.channel_id = d.channel_id
    RETURNING p.app_id, p.push_id
), deliveries AS (
    DELETE FROM channel_delivery v USING pushes p WHERE v.app_id = p.app_id AND v.push_id = p.push_id
), leaving AS (
    UPDATE apple_channel a SET remove_at = $3 FROM deleted d
    WHERE a.app_id = d.app_id AND a.channel_id = d.channel_id AND a.remove_at IS NULL
)
SELECT

-- :find_channel_for_installation
-- The channel, and its channel at Apple for one topic.
SELECT c.message_storage, a.apns_channel_id FROM channel c
LEFT JOIN apple_channel a ON a.app_id = c.app_id AND a.channel_id = c.channel_id AND a.remove_at IS NULL
     AND a.environment = $3 AND a.bundle_id = $4
WHERE c.app_id = $1 AND c.channel_id = $2

-- :lock_channel
-- Keeps the channel from being deleted until the end of the transaction.
SELECT true FROM channel WHERE app_id = $1 AND channel_id = $2 FOR SHARE

-- :store_apple_channel
INSERT INTO apple_channel (app_id, channel_id, environment, bundle_id, apns_channel_id, team_id, created_at, remove_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING

-- :count_waiting_deliveries
-- Counts up to $2.
SELECT count(*) FROM (SELECT FROM channel_delivery WHERE app_id = $1 AND due_at IS NOT NULL LIMIT $2) AS waiting

-- :store_channel_push
-- Stores a push with a delivery to each channel at Apple. Returns their number, or no row if the channel is gone.
WITH pushed AS (
    INSERT INTO channel_push (app_id, push_id, channel_id, token_id, created_at, expires_at, priority, expiration,
                              payload, targets)
    SELECT $1, $3, $2, $4, $5, $6, $7, $8, $9, (
        SELECT count(*) FROM apple_channel WHERE app_id = $1 AND channel_id = $2 AND remove_at IS NULL
    )
    FROM channel WHERE app_id = $1 AND channel_id = $2 FOR SHARE
    RETURNING targets
), deliveries AS (
    INSERT INTO channel_delivery (app_id, push_id, environment, bundle_id, apns_channel_id, team_id, due_at)
    SELECT $1, $3, a.environment, a.bundle_id, a.apns_channel_id, a.team_id, $5
    FROM pushed, apple_channel a WHERE a.app_id = $1 AND a.channel_id = $2 AND a.remove_at IS NULL
)
SELECT targets FROM pushed

-- :find_channel_push
SELECT app_id, channel_id, push_id, created_at, expires_at, priority, expiration, targets FROM channel_push
WHERE app_id = ANY($1::text[]) AND channel_id = $2 AND push_id = $3

-- :count_channel_outcomes
SELECT outcome, reason, count(*) FROM channel_delivery
WHERE app_id = $1 AND push_id = $2 AND outcome IS NOT NULL GROUP BY outcome, reason
