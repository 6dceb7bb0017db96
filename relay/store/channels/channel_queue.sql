-- Statements of channel_queue.py. The queue of channels is small: a row is a push to one of Apple's channels.

-- :lease_deliveries
-- Fair between apps, which are found by jumping through the index, as in `lease_batches` of push/batches.sql.
WITH RECURSIVE apps AS (
    (SELECT app_id FROM channel_delivery WHERE due_at IS NOT NULL ORDER BY app_id LIMIT 1)
    UNION ALL
    SELECT (
        SELECT d.app_id FROM channel_delivery d WHERE d.app_id > a.app_id AND d.due_at IS NOT NULL
        ORDER BY d.app_id LIMIT 1
    )
    FROM apps a WHERE a.app_id IS NOT NULL
), chosen AS (
    SELECT app_id, count(*) OVER () AS apps FROM apps WHERE app_id IS NOT NULL ORDER BY random() LIMIT $4
), due AS (
    SELECT d.* FROM chosen c CROSS JOIN LATERAL (
        SELECT app_id, push_id, environment, bundle_id FROM channel_delivery
        WHERE app_id = c.app_id AND due_at <= $1 ORDER BY due_at LIMIT greatest(1, $4 / c.apps)
        FOR UPDATE SKIP LOCKED
    ) d
), claimed AS (
    UPDATE channel_delivery d SET due_at = $2, lease_owner = $3 FROM due k
    WHERE d.app_id = k.app_id AND d.push_id = k.push_id AND d.environment = k.environment
          AND d.bundle_id = k.bundle_id
    RETURNING d.app_id, d.push_id, d.team_id, d.environment, d.bundle_id, d.apns_channel_id, d.attempt
)
SELECT c.app_id, p.channel_id, c.push_id, c.team_id, c.environment, c.bundle_id, c.apns_channel_id, c.attempt,
       p.expires_at, p.priority, p.expiration, p.payload
FROM claimed c JOIN channel_push p ON p.app_id = c.app_id AND p.push_id = c.push_id

-- :settle_deliveries
-- A delivery that was deleted meanwhile, or whose lease was lost, is not found and stays as it is.
UPDATE channel_delivery d SET attempt = s.attempt, due_at = s.due_at, outcome = s.outcome, status = s.status,
    reason = s.reason, lease_owner = NULL
FROM unnest($2::channel_outcome_row[]) s
WHERE d.app_id = s.app_id AND d.push_id = s.push_id AND d.environment = s.environment AND d.bundle_id = s.bundle_id
      AND d.lease_owner = $1

-- :release_deliveries
UPDATE channel_delivery SET due_at = $2, lease_owner = NULL WHERE lease_owner = $1 AND due_at IS NOT NULL

-- :lease_removals
-- Takes channels that are to be deleted at Apple. `remove_at` is the end of the lease as well.
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
