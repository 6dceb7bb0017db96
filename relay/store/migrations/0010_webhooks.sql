-- Webhooks: URLs of publishers that get messages about pushes. `secret` is encrypted. Only the node with the lease sends to
-- the webhook and writes its health. `given_up` counts the messages that were dropped undelivered.
CREATE TABLE webhook (
    app_id text COLLATE "C" NOT NULL REFERENCES app,
    webhook_id uuid NOT NULL,
    url text NOT NULL,
    events text[] NOT NULL,
    secret bytea NOT NULL,
    created_at timestamptz NOT NULL,
    disabled_at timestamptz,
    failures integer NOT NULL DEFAULT 0,
    failing_since timestamptz,
    resume_at timestamptz,
    last_attempt_at timestamptz,
    last_status smallint,
    last_error text NOT NULL DEFAULT '',
    given_up bigint NOT NULL DEFAULT 0,
    lease_owner uuid,
    lease_end timestamptz,
    PRIMARY KEY (app_id, webhook_id)
);

-- The outbox: a row is a message that has not been delivered. The message is composed when it is sent, from the outcome and
-- installations in the row, or for a completed push from its id alone. No foreign keys: rows are written with the
-- settlement of pushes.
CREATE TABLE webhook_event (
    app_id text COLLATE "C" NOT NULL,
    webhook_id uuid NOT NULL,
    event_id bigint GENERATED ALWAYS AS IDENTITY,
    message_id uuid NOT NULL DEFAULT gen_random_uuid(),
    type text NOT NULL,
    created_at timestamptz NOT NULL,
    push_id uuid NOT NULL,
    outcome text NOT NULL,
    status smallint NOT NULL,
    reason text NOT NULL,
    installations bigint[] NOT NULL,
    attempt smallint NOT NULL DEFAULT 0,
    due_at timestamptz NOT NULL,
    PRIMARY KEY (app_id, webhook_id, event_id)
) WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 5000);
CREATE INDEX webhook_event_due ON webhook_event (app_id, webhook_id, due_at);

CREATE TYPE webhook_event_row AS (
    app_id text, push_id uuid, type text, outcome text, status smallint, reason text, installations bigint[]
);
