-- Statements of webhooks.py.

-- :lock_app
-- Locks the row of the app, so that two requests cannot both create the last webhook that is allowed.
SELECT FROM app WHERE app_id = $1 FOR NO KEY UPDATE

-- :create_webhook
-- Creates a webhook unless the app has $7 of them.
INSERT INTO webhook (app_id, webhook_id, url, events, secret, created_at)
SELECT $1, $2, $3, $4, $5, $6 WHERE (SELECT count(*) FROM webhook WHERE app_id = $1) < $7

-- :list_webhooks
-- `waiting`: messages that have not been taken yet.
SELECT app_id, webhook_id, url, events, created_at, disabled_at, failures, failing_since, last_attempt_at,
last_status, last_error, given_up, (
    SELECT count(*) FROM webhook_event e WHERE e.app_id = w.app_id AND e.webhook_id = w.webhook_id
) AS waiting
FROM webhook w WHERE app_id = $1 AND webhook_id > $2 ORDER BY webhook_id LIMIT $3

-- :find_webhook
SELECT url, secret FROM webhook WHERE app_id = $1 AND webhook_id = $2

-- :remove_webhook
DELETE FROM webhook WHERE app_id = $1 AND webhook_id = $2 RETURNING url

-- :remove_messages
DELETE FROM webhook_event WHERE app_id = $1 AND webhook_id = $2

-- :record_test
-- The state before the test is read under the lock that the update then holds.
WITH before AS (
    SELECT disabled_at FROM webhook WHERE app_id = $1 AND webhook_id = $2 FOR NO KEY UPDATE
)
UPDATE webhook w SET last_attempt_at = $3, last_status = $4, last_error = $5,
    failures = CASE WHEN $6 THEN 0 ELSE w.failures END,
    failing_since = CASE WHEN $6 THEN NULL ELSE w.failing_since END,
    resume_at = CASE WHEN $6 THEN NULL ELSE w.resume_at END,
    disabled_at = CASE WHEN $6 THEN NULL ELSE w.disabled_at END
FROM before b WHERE w.app_id = $1 AND w.webhook_id = $2
RETURNING w.url, $6 AND b.disabled_at IS NOT NULL AS enabled

-- :lock_secrets
-- All webhooks, for a rotation of the keys.
SELECT w.app_id, w.webhook_id, w.url, w.secret, a.publisher_id FROM webhook w JOIN app a USING (app_id)
ORDER BY w.app_id, w.webhook_id FOR NO KEY UPDATE OF w

-- :store_secrets
UPDATE webhook w SET secret = n.secret
FROM unnest($1::text[], $2::uuid[], $3::bytea[]) AS n (app_id, webhook_id, secret)
WHERE w.app_id = n.app_id AND w.webhook_id = n.webhook_id
