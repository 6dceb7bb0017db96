-- Statements of message_data.py.

-- :find_completed_pushes
-- Pushes that are still stored, with a row for each outcome and reason.
SELECT p.push_id, p.created_at, p.targets, p.skipped, o.outcome, o.reason, o.count
FROM push p LEFT JOIN LATERAL (
    SELECT d.outcome, d.reason, sum(cardinality(d.installations))::bigint AS count
    FROM delivery d WHERE d.app_id = p.app_id AND d.push_id = p.push_id GROUP BY d.outcome, d.reason
) o ON true
WHERE p.app_id = $1 AND p.push_id = ANY($2::uuid[])

-- :find_copy_names
-- The identifiers by which a publisher knows installations.
SELECT u.id, c.value AS customer, d.value AS device, i.alongside
FROM unnest($2::bigint[]) AS u (id)
JOIN installation i ON i.app_id = $1 AND i.installation_id = u.id
JOIN scoped_identifier c ON c.app_id = $1 AND c.kind = 'c' AND c.subject = i.customer_id
JOIN scoped_identifier d ON d.app_id = $1 AND d.kind = 'd' AND d.subject = i.device_id
