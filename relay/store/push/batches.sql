-- Statements of batches.py: leases on batches, and the targets of leased batches.

-- :lease_batches
-- Leases batches that are due, and reads their pushes. $1 now, $2 the end of the lease, $3 its owner, $4 and $5 how
-- many small and bulk batches. Fair between apps: each app with work gives an equal number of batches, small ones and
-- bulk ones apart. The apps are found by jumping through the index (a loose index scan), not by reading the queue. An
-- app whose batches are all held or leased uses up no place. OFFSET 0 keeps that a look at the index for each app, and
-- no join with the queue.
WITH RECURSIVE apps AS (
    (SELECT app_id FROM batch ORDER BY app_id LIMIT 1)
    UNION ALL
    SELECT (SELECT b.app_id FROM batch b WHERE b.app_id > a.app_id ORDER BY b.app_id LIMIT 1)
    FROM apps a WHERE a.app_id IS NOT NULL
), with_small AS (
    SELECT app_id, count(*) OVER () AS apps FROM apps a
    WHERE EXISTS (SELECT FROM batch b WHERE b.app_id = a.app_id AND NOT b.bulk AND b.due_at <= $1 OFFSET 0)
    ORDER BY random() LIMIT $4
), with_bulk AS (
    SELECT app_id, count(*) OVER () AS apps FROM apps a
    WHERE $5 > 0 AND EXISTS (SELECT FROM batch b WHERE b.app_id = a.app_id AND b.bulk AND b.due_at <= $1 OFFSET 0)
    ORDER BY random() LIMIT $5
), small AS (
    SELECT b.app_id, b.push_id, b.batch_id FROM with_small c CROSS JOIN LATERAL (
        SELECT app_id, push_id, batch_id FROM batch
        WHERE app_id = c.app_id AND NOT bulk AND due_at <= $1
        ORDER BY due_at LIMIT greatest(1, $4 / c.apps) FOR UPDATE SKIP LOCKED
    ) b
), bulk AS (
    SELECT b.app_id, b.push_id, b.batch_id FROM with_bulk c CROSS JOIN LATERAL (
        SELECT app_id, push_id, batch_id FROM batch
        WHERE app_id = c.app_id AND bulk AND due_at <= $1
        ORDER BY due_at LIMIT greatest(1, $5 / c.apps) FOR UPDATE SKIP LOCKED
    ) b
), claimed AS (
    UPDATE batch b SET due_at = $2, lease_owner = $3, held_by = NULL
    FROM (SELECT * FROM small UNION ALL SELECT * FROM bulk) k
    WHERE b.app_id = k.app_id AND b.push_id = k.push_id AND b.batch_id = k.batch_id
    RETURNING b.app_id, b.push_id, b.batch_id, b.attempt, b.installations, b.last_reason, b.dense
)
SELECT c.app_id, c.push_id, c.batch_id, c.attempt, c.installations, p.payload, p.push_type, p.priority,
       p.expiration, p.collapse_id, p.created_at, p.expires_at, c.last_reason, c.dense, p.cancelled_at IS NOT NULL,
       p.token_kind
FROM claimed c JOIN push p ON p.app_id = c.app_id AND p.push_id = c.push_id

-- :resolve_targets
-- The active targets of batches. $1 and $2 are installations with the number of their batch.
SELECT u.batch, i.team_id, i.environment, array_agg(u.id), array_agg(t.token), array_agg(i.bundle_id)
FROM unnest($1::int[], $2::bigint[]) AS u(batch, id)
JOIN installation i ON i.app_id = ($3::text[])[u.batch] AND i.installation_id = u.id AND i.retired_at IS NULL
JOIN device_token t ON t.app_id = i.app_id AND t.installation_id = i.installation_id
     AND t.kind = ($4::text[])[u.batch] AND t.retired_at IS NULL
GROUP BY u.batch, i.team_id, i.environment

-- :resolve_dense_targets
-- The active targets of dense batches, given by their first and last installation. Three times as fast as
-- `resolve_targets`: both tables are read along their keys and merged.
SELECT u.batch, n.team_id, n.environment, array_agg(n.installation_id), array_agg(n.token), array_agg(n.bundle_id)
FROM unnest($1::int[], $2::bigint[], $3::bigint[]) AS u(batch, first, last)
CROSS JOIN LATERAL (
    SELECT i.installation_id, i.team_id, i.environment, i.bundle_id, t.token
    FROM (
        SELECT installation_id, team_id, environment, bundle_id FROM installation
        WHERE app_id = ($4::text[])[u.batch] AND installation_id BETWEEN u.first AND u.last AND retired_at IS NULL
        ORDER BY installation_id
    ) i JOIN (
        SELECT installation_id, token FROM device_token
        WHERE app_id = ($4::text[])[u.batch] AND installation_id BETWEEN u.first AND u.last
              AND kind = ($5::text[])[u.batch] AND retired_at IS NULL
        ORDER BY installation_id
    ) t USING (installation_id)
) n
GROUP BY u.batch, n.team_id, n.environment

-- :read_dispatch_context
-- The listed installations of apps. A row without an installation says that the app has a webhook, which saves a query.
SELECT i.app_id, i.installation_id, l.label, l.failure_domain
FROM app a
JOIN test_device l ON l.publisher_id = a.publisher_id
JOIN device d ON d.udid_digest = l.udid_digest
JOIN installation i ON i.app_id = a.app_id AND i.device_id = d.device_id
WHERE a.app_id = ANY($1::text[])
UNION ALL
SELECT app_id, NULL, NULL, NULL FROM webhook WHERE app_id = ANY($1::text[]) AND disabled_at IS NULL

-- :extend_leases
-- Extends the leases of batches. A locked row is being settled at this moment, so it is skipped.
WITH held AS (
    SELECT b.app_id, b.push_id, b.batch_id FROM unnest($3::batch_key[]) k
    JOIN batch b ON b.app_id = k.app_id AND b.push_id = k.push_id AND b.batch_id = k.batch_id
    WHERE b.lease_owner = $1 FOR UPDATE OF b SKIP LOCKED
)
UPDATE batch b SET due_at = $2 FROM held h
WHERE b.app_id = h.app_id AND b.push_id = h.push_id AND b.batch_id = h.batch_id

-- :count_waiting_batches
-- Counts the queue of apps, each up to $2: how far beyond the limit it is does not matter, and counting that would take
-- long. A broadcast that has not been cut to its end counts as one.
SELECT a.app_id, (SELECT count(*) FROM (SELECT FROM batch b WHERE b.app_id = a.app_id LIMIT $2) n)
       + (SELECT count(*) FROM (SELECT FROM open_broadcast c WHERE c.app_id = a.app_id LIMIT $2) n)
FROM unnest($1::text[]) AS a(app_id)

-- :release_batches
-- Ends all leases of a node: its batches are due at once.
UPDATE batch SET due_at = $2, lease_owner = NULL WHERE lease_owner = $1
