-- Statements of cancellation.py.

-- :stop_cutting
-- Waits for a piece that is being cut: afterwards its batches are in the queue.
WITH by_id AS (
    DELETE FROM broadcast WHERE app_id = $1 AND push_id = $2 RETURNING true AS stopped
), by_team AS (
    DELETE FROM broadcast_by_team WHERE app_id = $1 AND push_id = $2 RETURNING true AS stopped
), moves AS (
    DELETE FROM broadcast_move WHERE app_id = $1 AND push_id = $2
)
SELECT stopped FROM by_id UNION ALL SELECT stopped FROM by_team

-- :mark_cancelled
-- A push that has ended cannot be cancelled. $4: it was a broadcast that had not been cut to its end.
UPDATE push p SET cancelled_at = $3
WHERE p.app_id = $1 AND p.push_id = $2 AND p.cancelled_at IS NULL
  AND ($4 OR EXISTS (SELECT FROM batch b WHERE b.app_id = $1 AND b.push_id = $2))
RETURNING true

-- :end_waiting_batches
-- Ends up to $4 batches without a lease, and marks those under a lease, which turns their retries into the end. Returns
-- the number of both, and the targets that ended.
WITH waiting AS (
    SELECT batch_id FROM batch
    WHERE app_id = $1 AND push_id = $2 AND (lease_owner IS NULL OR due_at <= $3)
    LIMIT $4 FOR UPDATE SKIP LOCKED
), ended AS (
    DELETE FROM batch b USING waiting w WHERE b.app_id = $1 AND b.push_id = $2 AND b.batch_id = w.batch_id
    RETURNING b.batch_id, b.attempt, b.installations
), cancelled AS (
    INSERT INTO delivery (app_id, push_id, batch_id, attempt, settled_at, outcome, status, reason, installations)
    SELECT $1, $2, batch_id, attempt, $3, 'cancelled', 0, 'Cancelled', installations FROM ended
), leased AS (
    SELECT batch_id FROM batch
    WHERE app_id = $1 AND push_id = $2 AND lease_owner IS NOT NULL AND due_at > $3 AND NOT cancelled
    FOR UPDATE SKIP LOCKED
), under_way AS (
    UPDATE batch b SET cancelled = true FROM leased l
    WHERE b.app_id = $1 AND b.push_id = $2 AND b.batch_id = l.batch_id
    RETURNING b.batch_id
)
SELECT (SELECT count(*) FROM ended) + (SELECT count(*) FROM under_way),
       (SELECT coalesce(sum(cardinality(installations)), 0)::bigint FROM ended)
