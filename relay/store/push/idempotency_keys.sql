-- Statements of idempotency_keys.py. The keys are stored by acceptance.sql, with their pushes.

-- :find_answer
SELECT fingerprint, push_id, answer FROM idempotency_key WHERE app_id = $1 AND digest = $2

-- :drop_keys
-- Drops the oldest keys. Locked rows are skipped: another node is dropping them.
WITH old AS MATERIALIZED (
    SELECT app_id, digest FROM idempotency_key WHERE created_at < $1 ORDER BY created_at LIMIT $2
    FOR UPDATE SKIP LOCKED
)
DELETE FROM idempotency_key k USING old o WHERE k.app_id = o.app_id AND k.digest = o.digest
