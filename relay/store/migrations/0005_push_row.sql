-- What a push is written from has a type of its own: the table may get columns while nodes that don't know them write.
CREATE TYPE push_row AS (
    app_id text, push_id uuid, token_id uuid, created_at timestamptz, expires_at timestamptz, push_type text,
    priority smallint, expiration bigint, collapse_id text, payload bytea, debug boolean, targets integer, skipped integer
);
