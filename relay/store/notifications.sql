-- Statement of notifications.py.

-- :notify_nodes
SELECT pg_notify($1, topic || ' ' || $2) FROM unnest($3::text[]) AS topic
