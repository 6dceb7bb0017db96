-- :record_heartbeat
-- The clocks of the node and of the database are read at one moment, but for the way between them: milliseconds.
INSERT INTO node (node_id, host, process_id, version, roles, started_at, seen_at, in_flight, connections, streams,
                  clock_ahead)
VALUES ($1, $2, $3, $4, $5, $6, clock_timestamp(), $7, $8, $9,
        extract(epoch FROM $10::timestamptz - clock_timestamp()))
ON CONFLICT (node_id) DO UPDATE SET
    seen_at = excluded.seen_at, in_flight = excluded.in_flight, connections = excluded.connections,
    streams = excluded.streams, clock_ahead = excluded.clock_ahead

-- :list
SELECT node_id, host, process_id, version, roles, started_at, seen_at, in_flight, connections, streams, clock_ahead
FROM node WHERE seen_at > $1 ORDER BY host, started_at, node_id

-- :delete
DELETE FROM node WHERE node_id = $1

-- :delete_before
DELETE FROM node WHERE seen_at < $1
