-- Statements of reports.py: pushes read back. Nothing that sends reads them.

-- :find_push
-- `growing`: it is a broadcast that has not been cut to its end, so its targets are not all counted.
SELECT app_id, push_id, created_at, expires_at, push_type, priority, expiration, collapse_id, debug, targets, skipped,
       cancelled_at, EXISTS (SELECT FROM open_broadcast b WHERE b.app_id = p.app_id AND b.push_id = p.push_id) AS growing
FROM push p WHERE app_id = ANY($1::text[]) AND push_id = $2

-- :find_ended_pushes
-- Of pushes, those that have neither a batch in the queue nor a broadcast left to cut.
SELECT w.push_id FROM unnest($1::text[], $2::uuid[]) AS w(app_id, push_id)
WHERE NOT EXISTS (SELECT FROM batch b WHERE b.app_id = w.app_id AND b.push_id = w.push_id)
  AND NOT EXISTS (SELECT FROM open_broadcast c WHERE c.app_id = w.app_id AND c.push_id = w.push_id)

-- :count_outcomes
SELECT outcome, reason, sum(cardinality(installations))::bigint AS count
FROM delivery WHERE app_id = $1 AND push_id = $2 GROUP BY outcome, reason

-- :list_deliveries
-- In the order in which they were settled. ($3, $4) is the position after which the page begins.
SELECT o.delivery_id, o.position, c.value AS customer, d.value AS device, i.alongside, o.outcome, o.status,
       o.reason, o.attempt, o.settled_at
FROM (
    SELECT l.app_id, l.delivery_id, l.outcome, l.status, l.reason, l.attempt, l.settled_at, u.id, u.position
    FROM delivery l CROSS JOIN LATERAL unnest(l.installations) WITH ORDINALITY AS u(id, position)
    WHERE l.app_id = $1 AND l.push_id = $2 AND l.delivery_id >= $3 AND (l.delivery_id, u.position) > ($3, $4)
    ORDER BY l.delivery_id, u.position LIMIT $5
) o
JOIN installation i ON i.app_id = o.app_id AND i.installation_id = o.id
LEFT JOIN scoped_identifier c ON c.app_id = i.app_id AND c.kind = 'c' AND c.subject = i.customer_id
LEFT JOIN scoped_identifier d ON d.app_id = i.app_id AND d.kind = 'd' AND d.subject = i.device_id
ORDER BY o.delivery_id, o.position

-- :list_traces
-- Traces of the devices that the publisher lists now, whatever was listed when the push was sent.
SELECT c.value AS customer, d.value AS device, i.alongside, t.attempt, t.record
FROM trace t
JOIN installation i ON i.app_id = t.app_id AND i.installation_id = t.installation_id
JOIN app a ON a.app_id = t.app_id
JOIN device v ON v.device_id = i.device_id
JOIN test_device l ON l.publisher_id = a.publisher_id AND l.udid_digest = v.udid_digest
LEFT JOIN scoped_identifier c ON c.app_id = i.app_id AND c.kind = 'c' AND c.subject = i.customer_id
LEFT JOIN scoped_identifier d ON d.app_id = i.app_id AND d.kind = 'd' AND d.subject = i.device_id
WHERE t.app_id = $1 AND t.push_id = $2
ORDER BY t.installation_id, t.attempt LIMIT 1000

-- :list_recent_pushes
-- The list is read along the primary key, backwards: a row of each day's partition, and then as many as are shown. The
-- outcomes of a push are counted only while they are few rows ($4): those of a broadcast may be megabytes.
SELECT p.push_id, p.created_at, p.push_type, p.debug, p.targets, p.cancelled_at IS NOT NULL AS cancelled,
       t.label, t.kind, e.rows, e.counts,
       EXISTS (SELECT FROM batch b WHERE b.app_id = p.app_id AND b.push_id = p.push_id)
           OR EXISTS (SELECT FROM open_broadcast c WHERE c.app_id = p.app_id AND c.push_id = p.push_id) AS waiting
FROM (SELECT * FROM push WHERE app_id = $1 AND push_id < $2 ORDER BY push_id DESC LIMIT $3) p
LEFT JOIN api_token t ON t.token_id = p.token_id
CROSS JOIN LATERAL (
    SELECT coalesce(sum(o.rows), 0)::int AS rows, json_object_agg(o.outcome, o.count) FILTER (
        WHERE o.outcome IS NOT NULL
    ) AS counts
    FROM (
        SELECT outcome, count(*) AS rows, sum(cardinality(installations)) AS count
        FROM (
            SELECT outcome, installations FROM delivery d
            WHERE d.app_id = p.app_id AND d.push_id = p.push_id LIMIT $4
        ) AS read
        GROUP BY outcome
    ) o
) e
ORDER BY p.push_id DESC
