-- The type of a row that stores a push. It is not the table's own type, so that the table can get columns while nodes of
-- an earlier version still write.
CREATE TYPE push_row AS (
    app_id text, push_id uuid, token_id uuid, created_at timestamptz, expires_at timestamptz, push_type text,
    priority smallint, expiration bigint, collapse_id text, payload bytea, debug boolean, targets integer, skipped integer
);
