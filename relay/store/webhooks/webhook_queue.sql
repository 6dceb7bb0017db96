-- Statements of webhook_queue.py.

-- :lease_webhooks
-- Webhooks that have something due, found by jumping through the index (a loose index scan), not by reading the outbox.
-- Failing webhooks have places of their own ($5), so that they cannot take those of others ($4).
WITH RECURSIVE waiting AS (
    (SELECT app_id, webhook_id FROM webhook_event ORDER BY app_id, webhook_id LIMIT 1)
    UNION ALL
    SELECT n.app_id, n.webhook_id FROM waiting w CROSS JOIN LATERAL (
        SELECT e.app_id, e.webhook_id FROM webhook_event e WHERE (e.app_id, e.webhook_id) > (w.app_id, w.webhook_id)
        ORDER BY e.app_id, e.webhook_id LIMIT 1
    ) n
), ready AS (
    SELECT w.app_id, w.webhook_id, w.failures > 0 AS failing
    FROM waiting i JOIN webhook w ON w.app_id = i.app_id AND w.webhook_id = i.webhook_id
    WHERE w.disabled_at IS NULL AND (w.resume_at IS NULL OR w.resume_at <= $1)
      AND (w.lease_end IS NULL OR w.lease_end <= $1) AND EXISTS (
        SELECT FROM webhook_event e WHERE e.app_id = w.app_id AND e.webhook_id = w.webhook_id AND e.due_at <= $1
    )
), turn AS (
    (SELECT app_id, webhook_id FROM ready WHERE NOT failing ORDER BY random() LIMIT $4)
    UNION ALL
    (SELECT app_id, webhook_id FROM ready WHERE failing ORDER BY random() LIMIT $5)
), free AS (
    SELECT w.app_id, w.webhook_id FROM turn t JOIN webhook w ON w.app_id = t.app_id AND w.webhook_id = t.webhook_id
    WHERE w.lease_end IS NULL OR w.lease_end <= $1
    FOR NO KEY UPDATE OF w SKIP LOCKED
)
UPDATE webhook w SET lease_owner = $2, lease_end = $3
FROM free f JOIN app a ON a.app_id = f.app_id
WHERE w.app_id = f.app_id AND w.webhook_id = f.webhook_id
RETURNING w.app_id, w.webhook_id, a.publisher_id, w.url, w.secret, w.failures, w.failing_since

-- :list_due_messages
SELECT event_id, message_id, type, created_at, push_id, outcome, status, reason, installations, attempt
FROM webhook_event WHERE app_id = $1 AND webhook_id = $2 AND due_at <= $3 ORDER BY due_at LIMIT $4

-- :remove_messages
-- Messages that were delivered, or that can no longer be composed.
DELETE FROM webhook_event WHERE app_id = $1 AND webhook_id = $2 AND event_id = ANY($3::bigint[])

-- :postpone_messages
-- Counts a failed attempt.
UPDATE webhook_event e SET attempt = e.attempt + 1, due_at = n.due_at
FROM unnest($3::bigint[], $4::timestamptz[]) AS n (event_id, due_at)
WHERE e.app_id = $1 AND e.webhook_id = $2 AND e.event_id = n.event_id

-- :lock_lease
-- Locks the webhook if the node still has its lease.
SELECT true FROM webhook WHERE app_id = $1 AND webhook_id = $2 AND lease_owner = $3 FOR NO KEY UPDATE

-- :record_health
-- Written only by the owner of the lease. The lease ends at $12, or now if that is NULL.
UPDATE webhook SET failures = $4, failing_since = $5, resume_at = $6, disabled_at = $7, last_attempt_at = $8,
    last_status = $9, last_error = $10, given_up = given_up + $11, lease_end = $12
WHERE app_id = $1 AND webhook_id = $2 AND lease_owner = $3
RETURNING true

-- :release_webhooks
UPDATE webhook SET lease_end = NULL WHERE lease_owner = $1 AND lease_end IS NOT NULL

-- :release_webhook
UPDATE webhook SET lease_end = NULL WHERE app_id = $1 AND webhook_id = $2 AND lease_owner = $3

-- :remove_all_messages
DELETE FROM webhook_event WHERE app_id = $1 AND webhook_id = $2

-- :drop_old_messages
-- Drops messages that are too old (up to ten thousand of a webhook at a time), those beyond the number that may wait,
-- oldest first, and those of webhooks that were removed or disabled meanwhile. Counts them with their webhook.
WITH RECURSIVE waiting AS (
    (SELECT app_id, webhook_id FROM webhook_event ORDER BY app_id, webhook_id LIMIT 1)
    UNION ALL
    SELECT n.app_id, n.webhook_id FROM waiting w CROSS JOIN LATERAL (
        SELECT e.app_id, e.webhook_id FROM webhook_event e WHERE (e.app_id, e.webhook_id) > (w.app_id, w.webhook_id)
        ORDER BY e.app_id, e.webhook_id LIMIT 1
    ) n
), bounds AS (
    SELECT i.app_id, i.webhook_id, CASE WHEN w.webhook_id IS NULL OR w.disabled_at IS NOT NULL THEN 9223372036854775807
        ELSE greatest((
            SELECT max(o.event_id) FROM (
                SELECT e.event_id, e.created_at FROM webhook_event e
                WHERE e.app_id = i.app_id AND e.webhook_id = i.webhook_id ORDER BY e.event_id LIMIT 10000
            ) o WHERE o.created_at < $1
        ), (
            SELECT e.event_id FROM webhook_event e WHERE e.app_id = i.app_id AND e.webhook_id = i.webhook_id
            ORDER BY e.event_id DESC OFFSET $2 LIMIT 1
        )) END AS last
    FROM waiting i LEFT JOIN webhook w ON w.app_id = i.app_id AND w.webhook_id = i.webhook_id
), dropped AS (
    DELETE FROM webhook_event e USING bounds b
    WHERE e.app_id = b.app_id AND e.webhook_id = b.webhook_id AND e.event_id <= b.last
    RETURNING e.app_id, e.webhook_id
), counted AS (
    SELECT app_id, webhook_id, count(*) AS dropped FROM dropped GROUP BY app_id, webhook_id
), noted AS (
    UPDATE webhook w SET given_up = w.given_up + c.dropped
    FROM counted c WHERE w.app_id = c.app_id AND w.webhook_id = c.webhook_id
)
SELECT coalesce(sum(dropped), 0)::bigint FROM counted
