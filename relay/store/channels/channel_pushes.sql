-- Statements of channel_pushes.py.

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
-- A delivery that was deleted meanwhile, or whose lease was lost, stays as it is.
UPDATE channel_delivery d SET attempt = s.attempt, due_at = s.due_at, outcome = s.outcome, status = s.status,
    reason = s.reason, lease_owner = NULL
FROM unnest($2::channel_outcome_row[]) s
WHERE d.app_id = s.app_id AND d.push_id = s.push_id AND d.environment = s.environment AND d.bundle_id = s.bundle_id
      AND d.lease_owner = $1

-- :release_deliveries
UPDATE channel_delivery SET due_at = $2, lease_owner = NULL WHERE lease_owner = $1 AND due_at IS NOT NULL
