-- Statements of channels.py.

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
-- `bundle_ids` as above.
SELECT c.app_id, c.channel_id, c.message_storage, c.created_at, (
    SELECT count(*) FROM apple_channel a
    WHERE a.app_id = c.app_id AND a.channel_id = c.channel_id AND a.remove_at IS NULL
) AS bundle_ids
FROM channel c
WHERE c.app_id = ANY($1::text[]) AND c.channel_id = $2

-- :lock_channel_for_deletion
-- A statement of its own: rows that others store under a share lock of the channel are seen by the next statement only.
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
