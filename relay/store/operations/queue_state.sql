-- :count_batches
-- One pass over the queue. The installation numbers themselves are not read: a list takes 8 bytes for each number and
-- 20 to 24 bytes for itself, so its size tells their count. Compressed lists would break this; migration 0003 rules
-- them out.
WITH waiting AS (
    SELECT app_id, held_by, bulk, due_at, (pg_column_size(installations) - 20) / 8 AS installations,
           CASE WHEN held_by IS NOT NULL THEN 'held' WHEN due_at <= $1 THEN 'due'
                WHEN lease_owner IS NOT NULL THEN 'leased' ELSE 'later' END AS state
    FROM batch LIMIT $2
), counted AS (
    SELECT state, bulk, app_id, held_by, grouping(state, app_id, held_by) AS part, count(*) AS batches,
           sum(installations)::bigint AS installations,
           extract(epoch FROM $1 - min(due_at) FILTER (WHERE state = 'due'))::float8 AS oldest_due_seconds
    FROM waiting GROUP BY GROUPING SETS ((state, bulk), (app_id), (held_by))
)
SELECT state, bulk, app_id, held_by, batches, installations, oldest_due_seconds FROM (
    SELECT *, row_number() OVER (PARTITION BY part ORDER BY batches DESC, app_id, held_by) AS rank FROM counted
    WHERE state IS NOT NULL OR app_id IS NOT NULL OR held_by IS NOT NULL
) ranked
WHERE rank <= $3 ORDER BY rank

-- :count_others
SELECT (SELECT count(*) FROM (SELECT FROM open_broadcast LIMIT $1) b),
       (SELECT count(*) FROM (SELECT FROM channel_delivery WHERE due_at IS NOT NULL LIMIT $1) c),
       (SELECT count(*) FROM (SELECT FROM webhook_event LIMIT $1) e)

-- :app_exists
SELECT true FROM app WHERE app_id = $1

-- :list_batches_of_app
-- Read along the index of due batches, in both halves of the queue.
WITH waiting AS (
    (SELECT * FROM batch WHERE app_id = $1 AND NOT bulk ORDER BY due_at LIMIT $3)
    UNION ALL
    (SELECT * FROM batch WHERE app_id = $1 AND bulk ORDER BY due_at LIMIT $3)
)
SELECT push_id, batch_id, cardinality(installations) AS installations, bulk, attempt, due_at, held_by, last_reason,
       CASE WHEN held_by IS NOT NULL THEN 'held' WHEN due_at <= $2 THEN 'due' WHEN lease_owner IS NOT NULL THEN 'leased'
            ELSE 'later' END AS state
FROM waiting ORDER BY due_at, push_id, batch_id LIMIT $3

-- :list_broadcasts_of_app
SELECT push_id, pieces FROM open_broadcast WHERE app_id = $1 ORDER BY push_id LIMIT $2
