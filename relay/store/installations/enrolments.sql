-- Each statement takes any number of rows. Rows are written in the order of their keys, and tables in the order of this
-- file, so that concurrent enrolments cannot wait for one another.

-- :unknown_apps
SELECT app_id FROM unnest($1::text[]) AS given (app_id)
WHERE NOT EXISTS (SELECT FROM app WHERE app.app_id = given.app_id)

-- :customers
WITH given AS (
    SELECT external_ref FROM unnest($1::text[]) AS g (external_ref)
), made AS (
    INSERT INTO customer (external_ref)
    SELECT external_ref FROM given WHERE NOT EXISTS (SELECT FROM customer c WHERE c.external_ref = given.external_ref)
    ORDER BY external_ref
    ON CONFLICT DO NOTHING
    RETURNING external_ref, customer_id
)
SELECT external_ref, customer_id FROM made
UNION ALL SELECT external_ref, c.customer_id FROM given JOIN customer c USING (external_ref)

-- :devices
WITH given AS (
    SELECT udid_digest, customer_id FROM unnest($1::bytea[], $2::bigint[]) AS g (udid_digest, customer_id)
), made AS (
    INSERT INTO device (udid_digest, customer_id)
    SELECT udid_digest, customer_id FROM given
    WHERE NOT EXISTS (
        SELECT FROM device d WHERE d.udid_digest = given.udid_digest AND d.customer_id = given.customer_id
    )
    ORDER BY udid_digest, customer_id
    ON CONFLICT DO NOTHING
    RETURNING udid_digest, customer_id, device_id
)
SELECT udid_digest, customer_id, device_id FROM made
UNION ALL SELECT udid_digest, customer_id, d.device_id FROM given JOIN device d USING (udid_digest, customer_id)

-- :owners
-- Locks each UDID, also where nothing changes: DO UPDATE locks a row before it evaluates its WHERE.
INSERT INTO device_owner AS o (udid_digest, device_id)
SELECT udid_digest, device_id FROM unnest($1::bytea[], $2::bigint[]) AS g (udid_digest, device_id)
ORDER BY udid_digest
ON CONFLICT (udid_digest) DO UPDATE SET device_id = excluded.device_id WHERE o.device_id <> excluded.device_id
RETURNING udid_digest, device_id

-- :retire_former
-- The installations that other customers have on these devices, in all apps.
UPDATE installation i SET retired_at = $3, serial = nextval('installation_serial')
FROM unnest($1::bytea[], $2::bigint[]) AS given (udid_digest, device_id)
JOIN device d ON d.udid_digest = given.udid_digest AND d.device_id <> given.device_id
JOIN device_app a ON a.device_id = d.device_id
WHERE i.app_id = a.app_id AND i.device_id = a.device_id AND i.retired_at IS NULL
RETURNING i.app_id, i.installation_id

-- :existing
SELECT i.app_id, i.device_id, i.alongside, i.installation_id, i.installation_uuid, i.bundle_id, i.team_id,
    i.environment, i.app_version, i.serial, i.retired_at
FROM unnest($1::text[], $2::bigint[], $3::text[]) AS given (app_id, device_id, alongside)
JOIN installation i
    ON i.app_id = given.app_id AND i.device_id = given.device_id AND i.alongside = given.alongside
ORDER BY i.app_id, i.installation_id
FOR NO KEY UPDATE OF i

-- :uuids
SELECT a.installation_uuid, a.app_id, a.installation_id, i.alongside, d.udid_digest
FROM unnest($1::uuid[]) AS given (installation_uuid)
JOIN installation_app a USING (installation_uuid)
JOIN installation i ON i.app_id = a.app_id AND i.installation_id = a.installation_id
JOIN device d ON d.device_id = i.device_id

-- :identifiers
WITH given AS (
    SELECT app_id, subject, value FROM unnest($2::text[], $3::bigint[], $4::text[]) AS g (app_id, subject, value)
), made AS (
    INSERT INTO scoped_identifier (app_id, kind, subject, value)
    SELECT app_id, $1::text::"char", subject, value FROM given
    WHERE NOT EXISTS (
        SELECT FROM scoped_identifier s
        WHERE s.app_id = given.app_id AND s.kind = $1::text::"char" AND s.subject = given.subject
    )
    ORDER BY app_id, subject
    ON CONFLICT DO NOTHING
    RETURNING app_id, subject, value
)
SELECT app_id, subject, value FROM made
UNION ALL
SELECT s.app_id, s.subject, s.value FROM given
JOIN scoped_identifier s ON s.app_id = given.app_id AND s.kind = $1::text::"char" AND s.subject = given.subject

-- :device_apps
INSERT INTO device_app (device_id, app_id)
SELECT device_id, app_id FROM unnest($1::bigint[], $2::text[]) AS g (device_id, app_id) ORDER BY device_id, app_id
ON CONFLICT DO NOTHING

-- :insert
INSERT INTO installation
    (app_id, installation_uuid, customer_id, device_id, alongside, bundle_id, team_id, environment, app_version,
    enrolled_at)
SELECT app_id, installation_uuid, customer_id, device_id, alongside, bundle_id, team_id, environment, app_version, $10
FROM unnest(
    $1::text[], $2::uuid[], $3::bigint[], $4::bigint[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[]
) AS g (
    app_id, installation_uuid, customer_id, device_id, alongside, bundle_id, team_id, environment, app_version
)
ORDER BY app_id, installation_uuid
RETURNING app_id, installation_uuid, installation_id, serial

-- :update
-- An installation that comes back keeps the serial that its retirement gave it: no install_ token has that serial.
UPDATE installation i SET
    installation_uuid = given.installation_uuid, bundle_id = given.bundle_id, team_id = given.team_id,
    environment = given.environment, app_version = given.app_version,
    serial = CASE WHEN given.replaced THEN nextval('installation_serial') ELSE i.serial END,
    enrolled_at = CASE WHEN i.retired_at IS NULL THEN i.enrolled_at ELSE $9 END, retired_at = NULL
FROM unnest(
    $1::text[], $2::bigint[], $3::uuid[], $4::text[], $5::text[], $6::text[], $7::text[], $8::boolean[]
) AS given (
    app_id, installation_id, installation_uuid, bundle_id, team_id, environment, app_version, replaced
)
WHERE i.app_id = given.app_id AND i.installation_id = given.installation_id
RETURNING i.app_id, i.installation_uuid, i.installation_id, i.serial

-- :claim_uuids
-- Two requests may both find a UUID free. The second one fails here, and finds it taken when it runs again.
INSERT INTO installation_app (installation_uuid, app_id, installation_id)
SELECT installation_uuid, app_id, installation_id
FROM unnest($1::uuid[], $2::text[], $3::bigint[]) AS g (installation_uuid, app_id, installation_id)
ORDER BY installation_uuid

-- :move_uuids
-- UUIDs that follow their device to the row of its next owner.
UPDATE installation_app a SET installation_id = given.installation_id
FROM unnest($1::uuid[], $2::bigint[]) AS given (installation_uuid, installation_id)
WHERE a.installation_uuid = given.installation_uuid
