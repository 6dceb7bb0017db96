-- Statements of settlement.py.

-- :settle_batches
-- Settles everything that ended together. `owned` is the gate: a batch whose lease was lost is not in it, and nothing
-- of it is written, because the new owner of the lease will write it. Neither is a settlement written twice when it is
-- repeated because the answer was lost: by then its ended batches are gone and the others have shrunk. A retry of a
-- batch whose push was cancelled meanwhile ends instead.
WITH ended AS (
    DELETE FROM batch b USING unnest($2::batch_key[]) e
    WHERE b.app_id = e.app_id AND b.push_id = e.push_id AND b.batch_id = e.batch_id AND b.lease_owner = $1
    RETURNING b.batch_id, b.cancelled
), shrunk AS (
    UPDATE batch b SET installations = s.installations, due_at = s.due_at FROM unnest($3::batch_row[]) s
    WHERE b.app_id = s.app_id AND b.push_id = s.push_id AND b.batch_id = s.batch_id AND b.lease_owner = $1
      AND cardinality(b.installations) > cardinality(s.installations)
    RETURNING b.batch_id, b.cancelled
), owned AS (
    SELECT batch_id, cancelled FROM ended UNION ALL SELECT batch_id, cancelled FROM shrunk
), delivered AS (
    INSERT INTO delivery (app_id, push_id, batch_id, attempt, settled_at, outcome, status, reason, installations)
    SELECT app_id, push_id, batch_id, attempt, $6::timestamptz, outcome, status, reason, installations
    FROM unnest($4::outcome_row[]) WHERE batch_id IN (SELECT batch_id FROM owned)
    UNION ALL
    SELECT app_id, push_id, parent_id, attempt, $6, 'cancelled', 0::smallint, 'Cancelled', installations
    FROM unnest($5::batch_row[]) WHERE parent_id IN (SELECT batch_id FROM owned WHERE cancelled)
), again AS (
    INSERT INTO batch (app_id, push_id, batch_id, bulk, attempt, due_at, held_by, last_reason, installations)
    SELECT app_id, push_id, batch_id, cardinality(installations) > $7, attempt, due_at, held_by, last_reason,
           installations
    FROM unnest($5::batch_row[]) WHERE parent_id IN (SELECT batch_id FROM owned WHERE NOT cancelled)
)
SELECT batch_id FROM owned

-- :retire_tokens
-- Locks device tokens in the order in which enrolments lock them, so that neither waits for the other.
WITH dead AS (
    SELECT t.app_id, t.installation_id, t.kind, r.reason FROM unnest($2::retirement_row[]) r
    JOIN device_token t ON t.app_id = r.app_id AND t.installation_id = r.installation_id AND t.token = r.token
    LEFT JOIN sighting s ON s.app_id = t.app_id AND s.installation_id = t.installation_id
    WHERE t.retired_at IS NULL AND greatest(t.registered_at, s.seen_at) <= r.evidence
    ORDER BY t.app_id, t.installation_id, t.kind FOR UPDATE OF t
)
UPDATE device_token t SET retired_at = $1, retired_reason = d.reason FROM dead d
WHERE t.app_id = d.app_id AND t.installation_id = d.installation_id AND t.kind = d.kind

-- :store_trace
INSERT INTO trace VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING
