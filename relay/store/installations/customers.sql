-- Customers are listed in the order of their identifiers, which reveals nothing. The relay's own numbers are equal in
-- all apps: a cursor of them would tell which customers of two apps are one person. 'c_…' < 'd' < 'd_…'.

-- :list
SELECT s.value, s.subject FROM scoped_identifier s
WHERE s.app_id = $1 AND s.kind = 'c' AND s.value > $2 AND s.value < 'd' AND (
    SELECT true FROM installation i
    WHERE i.app_id = s.app_id AND i.customer_id = s.subject AND i.retired_at IS NULL LIMIT 1
)
ORDER BY s.value LIMIT $3

-- :find
SELECT value, subject FROM scoped_identifier WHERE app_id = $1 AND kind = 'c' AND value = $2

-- :list_by_alias
SELECT s.value, s.subject FROM alias a
JOIN scoped_identifier s ON s.app_id = a.app_id AND s.kind = 'c' AND s.subject = a.customer_id
WHERE a.app_id = $1 AND a.digest = $4 AND s.value > $2
ORDER BY s.value LIMIT $3

-- :find_by_device
SELECT c.value, c.subject FROM scoped_identifier d
JOIN device v ON v.device_id = d.subject
JOIN scoped_identifier c ON c.app_id = d.app_id AND c.kind = 'c' AND c.subject = v.customer_id
WHERE d.app_id = $1 AND d.kind = 'd' AND d.value = $2

-- :list_installations
SELECT i.customer_id, d.value AS device, i.alongside, i.app_version, i.environment, t.known, t.kinds,
       greatest(t.registered_at, g.seen_at) AS last_seen
FROM installation i
JOIN scoped_identifier d ON d.app_id = i.app_id AND d.kind = 'd' AND d.subject = i.device_id
LEFT JOIN sighting g ON g.app_id = i.app_id AND g.installation_id = i.installation_id
CROSS JOIN LATERAL (
    SELECT count(*) AS known, max(k.registered_at) AS registered_at,
           array_agg(k.kind ORDER BY k.kind) FILTER (WHERE k.retired_at IS NULL) AS kinds
    FROM device_token k WHERE k.app_id = i.app_id AND k.installation_id = i.installation_id
) t
WHERE i.app_id = $1 AND i.customer_id = ANY($2::bigint[]) AND i.retired_at IS NULL
ORDER BY d.value, i.alongside
