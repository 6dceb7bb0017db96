-- :count_expired
SELECT (SELECT count(*) FROM audit WHERE at < $1) AS audit,
       (SELECT count(*) FROM idempotency_key WHERE created_at < $2) AS idempotency_keys,
       (SELECT count(*) FROM webhook_event WHERE created_at < $3) AS webhook_events,
       (SELECT count(*) FROM minute_count WHERE minute < $4) AS minute_counts,
       (SELECT count(*) FROM node WHERE seen_at < $5) AS nodes
