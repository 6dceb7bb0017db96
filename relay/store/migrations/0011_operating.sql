-- The nodes: a row for each running process, which updates it every few seconds and deletes it when it shuts down.
-- `clock_ahead`: seconds by which its clock is ahead of the database's.
CREATE TABLE node (
    node_id uuid PRIMARY KEY,
    host text NOT NULL,
    process_id integer NOT NULL,
    version text NOT NULL,
    roles text[] NOT NULL,
    started_at timestamptz NOT NULL,
    seen_at timestamptz NOT NULL,
    in_flight integer NOT NULL,
    connections integer NOT NULL,
    streams integer NOT NULL,
    clock_ahead real NOT NULL
) WITH (fillfactor = 50);

-- Counts for each minute, over all nodes, for the console's charts. `reason` is from a closed set.
CREATE TABLE minute_count (
    minute timestamptz NOT NULL,
    outcome text COLLATE "C" NOT NULL,
    reason text COLLATE "C" NOT NULL,
    count bigint NOT NULL,
    PRIMARY KEY (minute, outcome, reason)
) WITH (fillfactor = 80);
