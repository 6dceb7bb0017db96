-- Answers to requests with an Idempotency-Key, kept for a day. A row is written with its push, by one statement. `digest`
-- is the digest of the key and its push token, `fingerprint` that of the body as well. `answer` is encrypted: only a
-- request with this key and body can read it.
CREATE TABLE idempotency_key (
    app_id text COLLATE "C" NOT NULL,
    digest bytea NOT NULL,
    fingerprint bytea NOT NULL,
    push_id uuid NOT NULL,
    answer bytea NOT NULL,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (app_id, digest)
) WITH (autovacuum_vacuum_scale_factor = 0.05);
CREATE INDEX idempotency_key_created_at ON idempotency_key (created_at);
CREATE TYPE idempotency_key_row AS (
    app_id text, digest bytea, fingerprint bytea, push_id uuid, answer bytea, created_at timestamptz
);
