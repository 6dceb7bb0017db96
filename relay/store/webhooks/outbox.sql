-- Statements of outbox.py.

-- :find_apps_with_webhook
SELECT DISTINCT app_id FROM webhook WHERE app_id = ANY($1::text[]) AND disabled_at IS NULL

-- :store_delivery_messages
-- A message to each enabled webhook of the app that takes this type of event.
INSERT INTO webhook_event (app_id, webhook_id, type, created_at, due_at, push_id, outcome, status, reason,
                           installations)
SELECT e.app_id, w.webhook_id, e.type, $2::timestamptz, $2, e.push_id, e.outcome, e.status, e.reason, e.installations
FROM unnest($1::webhook_event_row[]) e
JOIN webhook w ON w.app_id = e.app_id AND w.disabled_at IS NULL AND e.type = ANY(w.events)

-- :lock_pushes
-- Locks pushes in the order of the primary key, so that two settlements cannot wait for each other.
SELECT FROM unnest($1::text[], $2::uuid[]) AS k (app_id, push_id)
JOIN push p ON p.app_id = k.app_id AND p.push_id = k.push_id
ORDER BY p.app_id, p.push_id FOR NO KEY UPDATE OF p

-- :store_completed_messages
-- A message for each push that has neither a batch in the queue nor a broadcast left to cut.
INSERT INTO webhook_event (app_id, webhook_id, type, created_at, due_at, push_id, outcome, status, reason,
                           installations)
SELECT k.app_id, w.webhook_id, $4::text, $3::timestamptz, $3, k.push_id, '', 0, '', '{}'
FROM unnest($1::text[], $2::uuid[]) AS k (app_id, push_id)
JOIN webhook w ON w.app_id = k.app_id AND w.disabled_at IS NULL AND $4 = ANY(w.events)
WHERE NOT EXISTS (SELECT FROM batch b WHERE b.app_id = k.app_id AND b.push_id = k.push_id)
  AND NOT EXISTS (SELECT FROM open_broadcast c WHERE c.app_id = k.app_id AND c.push_id = k.push_id)
