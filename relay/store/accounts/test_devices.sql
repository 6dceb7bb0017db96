-- :insert
INSERT INTO test_device (publisher_id, udid_digest, test_device_id, label, failure_domain, created_at)
SELECT $1, $2, $3, $4, $5, $6
WHERE (SELECT count(*) FROM (SELECT FROM test_device WHERE publisher_id = $1 LIMIT $7) AS listed) < $7
ON CONFLICT DO NOTHING

-- :list
SELECT test_device_id, label, failure_domain, created_at FROM test_device
WHERE publisher_id = $1 AND test_device_id > $2 ORDER BY test_device_id LIMIT $3

-- :list_with_installations
-- A listed device may have had several owners. Only the one with an installation of the app on it counts.
SELECT l.test_device_id, l.label, l.failure_domain, c.value AS customer, d.value AS device, count(*) AS copies,
       count(*) FILTER (WHERE EXISTS (
           SELECT FROM device_token t
           WHERE t.app_id = i.app_id AND t.installation_id = i.installation_id AND t.retired_at IS NULL
       )) AS reachable
FROM test_device l
JOIN device v USING (udid_digest)
JOIN installation i ON i.app_id = $2 AND i.device_id = v.device_id AND i.retired_at IS NULL
JOIN scoped_identifier c ON c.app_id = i.app_id AND c.kind = 'c' AND c.subject = i.customer_id
JOIN scoped_identifier d ON d.app_id = i.app_id AND d.kind = 'd' AND d.subject = i.device_id
WHERE l.publisher_id = $1
GROUP BY l.test_device_id, l.label, l.failure_domain, c.value, d.value
ORDER BY l.test_device_id, d.value

-- :lock
SELECT test_device_id, label, failure_domain, created_at FROM test_device WHERE publisher_id = $1 AND test_device_id = $2 FOR UPDATE

-- :change
UPDATE test_device SET label = $3, failure_domain = $4 WHERE publisher_id = $1 AND test_device_id = $2

-- :delete
DELETE FROM test_device WHERE publisher_id = $1 AND test_device_id = $2 RETURNING test_device_id, label, failure_domain, created_at
