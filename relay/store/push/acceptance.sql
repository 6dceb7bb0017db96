-- Statements of acceptance.py: from destinations to targets, and pushes into the queue. One statement serves all
-- requests of a group commit; `request` numbers them from 1.

-- :reach
-- Template: the targets that destinations reach, with `{wanted}` and `{listed}` filled in from the blocks below. A
-- destination is a customer, a device, or an email address that customers have as an alias. All lead to the
-- installations that have a device token of the wanted kind.
WITH wanted AS (
    {wanted}
), reached AS (
    SELECT w.request, w.destination, w.token_kind, i.*
    FROM wanted w JOIN installation i ON w.kind = 'c' AND i.app_id = w.app_id AND i.customer_id = w.subject
    WHERE i.retired_at IS NULL
    UNION ALL
    SELECT w.request, w.destination, w.token_kind, i.*
    FROM wanted w JOIN installation i ON w.kind = 'd' AND i.app_id = w.app_id AND i.device_id = w.subject
    WHERE i.retired_at IS NULL
)
SELECT r.request, r.destination, {listed} AS listed, r.installation_id, r.bundle_id, r.team_id, r.environment,
       t.token
FROM reached r
JOIN device_token t ON t.app_id = r.app_id AND t.installation_id = r.installation_id AND t.kind = r.token_kind
WHERE t.retired_at IS NULL

-- :wanted_by_identifier
-- Part of `reach`: destinations that are `c_` and `d_` identifiers.
SELECT w.request, w.destination, s.app_id, s.kind, s.subject, ($4::text[])[w.request] AS token_kind
FROM unnest($1::int[], $2::text[]) AS w(request, destination)
JOIN scoped_identifier s ON s.app_id = ($3::text[])[w.request] AND s.value = w.destination

-- :wanted_by_address
-- Part of `reach`: destinations that are digests of email addresses.
SELECT w.request, w.destination, a.app_id, 'c' AS kind, a.customer_id AS subject,
       ($4::text[])[w.request] AS token_kind
FROM unnest($1::int[], $2::bytea[]) AS w(request, destination)
JOIN alias a ON a.app_id = ($3::text[])[w.request] AND a.digest = w.destination

-- :listed
-- Part of `reach`, for debug pushes: whether the device is on the publisher's list of test devices.
EXISTS (
    SELECT FROM app a JOIN test_device l ON l.publisher_id = a.publisher_id JOIN device d USING (udid_digest)
    WHERE a.app_id = r.app_id AND d.device_id = r.device_id
)

-- :store
-- Template: pushes with their batches in one round trip and one commit, whatever their number. `{keys}` and `{new}` are
-- empty, or filled in from the blocks below where some requests have an Idempotency-Key.
WITH {keys}pushes AS (
    INSERT INTO push (app_id, push_id, token_id, created_at, expires_at, push_type, priority, expiration, collapse_id,
                      payload, debug, targets, skipped, token_kind)
    SELECT * FROM unnest($1::push_row_with_kind[]) {new}
), broadcasts AS (
    INSERT INTO broadcast (app_id, push_id, token_kind, listed_only)
    SELECT app_id, push_id, token_kind, listed_only FROM unnest($4::broadcast_row[]) {new}
), batches AS (
    INSERT INTO batch (app_id, push_id, batch_id, bulk, attempt, due_at, lease_owner, installations)
    SELECT app_id, push_id, batch_id, cardinality(installations) > $3, attempt, due_at, lease_owner, installations
    FROM unnest($2::batch_row[]) {new}
)

-- :take_keys
-- Part of `store`: takes the idempotency keys first, in one order, so that two group commits cannot wait for each
-- other. A push is not stored if its key is taken already. A key that another group is committing is waited for.
taken AS (
    INSERT INTO idempotency_key (app_id, digest, fingerprint, push_id, answer, created_at)
    SELECT * FROM unnest($5::idempotency_key_row[]) ORDER BY app_id, digest
    ON CONFLICT DO NOTHING RETURNING push_id
), repeated AS MATERIALIZED (
    SELECT push_id FROM unnest($5::idempotency_key_row[]) EXCEPT SELECT push_id FROM taken
),

-- :only_new
-- Part of `store`: leaves out pushes whose key is taken.
WHERE push_id NOT IN (SELECT push_id FROM repeated)
