-- :find
SELECT i.app_id, i.installation_id, i.installation_uuid, i.alongside, i.bundle_id, i.team_id, i.environment,
    i.app_version, c.value AS customer_identifier, d.value AS device_identifier
FROM installation i
JOIN scoped_identifier c ON c.app_id = i.app_id AND c.kind = 'c' AND c.subject = i.customer_id
JOIN scoped_identifier d ON d.app_id = i.app_id AND d.kind = 'd' AND d.subject = i.device_id
WHERE i.app_id = $1 AND i.installation_uuid = $2 AND i.serial = $3 AND i.retired_at IS NULL

-- :find_by_uuid
SELECT app_id, installation_id FROM installation_app WHERE installation_uuid = $1

-- :find_app
SELECT app_id FROM installation_app WHERE installation_uuid = $1

-- :identifier_exists
SELECT true FROM scoped_identifier WHERE app_id = $1 AND value = $2

-- :count_active
SELECT count(*) FROM installation WHERE app_id = $1 AND retired_at IS NULL

-- :fragment active_page
-- The active installations of app $1 after installation $2, with their identifiers and their number of device tokens.
SELECT i.app_id, i.installation_id, i.installation_uuid, i.alongside, i.app_version, c.value AS customer,
    d.value AS device,
    (
        SELECT count(*) FROM device_token t
        WHERE t.app_id = i.app_id AND t.installation_id = i.installation_id AND t.retired_at IS NULL
    ) AS tokens
FROM installation i
JOIN scoped_identifier c ON c.app_id = i.app_id AND c.kind = 'c' AND c.subject = i.customer_id
JOIN scoped_identifier d ON d.app_id = i.app_id AND d.kind = 'd' AND d.subject = i.device_id
WHERE i.app_id = $1 AND i.retired_at IS NULL AND i.installation_id > $2

-- :list_active
-- :include active_page
ORDER BY i.installation_id LIMIT $3

-- :list_active_of_customer
-- :include active_page
  AND i.customer_id = (SELECT s.subject FROM scoped_identifier s WHERE s.app_id = $1 AND s.value = $4 AND s.kind = 'c')
ORDER BY i.installation_id LIMIT $3

-- :list_active_of_device
-- :include active_page
  AND i.device_id = (SELECT s.subject FROM scoped_identifier s WHERE s.app_id = $1 AND s.value = $4 AND s.kind = 'd')
ORDER BY i.installation_id LIMIT $3

-- :list_active_with_uuid
-- :include active_page
  AND i.installation_uuid = $4
ORDER BY i.installation_id LIMIT $3

-- :retire
-- Locks in the order in which enrolments lock.
WITH held AS MATERIALIZED (
    SELECT i.app_id, i.installation_id
    FROM unnest($2::bigint[], $3::uuid[]) AS given (installation_id, installation_uuid)
    JOIN installation i ON i.app_id = $1 AND i.installation_id = given.installation_id
        AND i.installation_uuid = given.installation_uuid
    WHERE i.retired_at IS NULL
    ORDER BY i.installation_id FOR NO KEY UPDATE OF i
)
UPDATE installation i SET retired_at = $4, serial = nextval('installation_serial')
FROM held h WHERE i.app_id = h.app_id AND i.installation_id = h.installation_id
RETURNING i.installation_id, i.installation_uuid
