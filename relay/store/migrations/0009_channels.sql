-- The kind of device token that a push goes to, if the push type does not imply it: a Live Activity is started through one
-- token and then updated through another. NULL: the kind that the push type implies. A push is stored from a new type of
-- row, see 0005.
ALTER TABLE push ADD token_kind text;
CREATE TYPE push_row_with_kind AS (
    app_id text, push_id uuid, token_id uuid, created_at timestamptz, expires_at timestamptz, push_type text,
    priority smallint, expiration bigint, collapse_id text, payload bytea, debug boolean, targets integer,
    skipped integer, token_kind text
);

-- Broadcast channels. A channel at Apple belongs to one bundle identifier in one environment. A channel of the relay stands
-- for all channels at Apple that installations of the app asked for.
CREATE TABLE channel (
    app_id text COLLATE "C" NOT NULL,
    channel_id uuid NOT NULL,
    message_storage boolean NOT NULL,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (app_id, channel_id)
);

-- A channel that was created at Apple has a row until it is deleted there. That is tried from `remove_at` on.
CREATE TABLE apple_channel (
    app_id text COLLATE "C" NOT NULL,
    channel_id uuid NOT NULL,
    environment text NOT NULL CHECK (environment IN ('production', 'sandbox')),
    bundle_id text NOT NULL,
    apns_channel_id text COLLATE "C" NOT NULL,
    team_id text NOT NULL,
    created_at timestamptz NOT NULL,
    remove_at timestamptz,
    attempt smallint NOT NULL DEFAULT 0,
    PRIMARY KEY (app_id, channel_id, environment, bundle_id, apns_channel_id)
);
CREATE UNIQUE INDEX apple_channel_in_use ON apple_channel (app_id, channel_id, environment, bundle_id)
    WHERE remove_at IS NULL;
CREATE INDEX apple_channel_to_remove ON apple_channel (remove_at) WHERE remove_at IS NOT NULL;

CREATE TABLE channel_push (
    app_id text COLLATE "C" NOT NULL,
    push_id uuid NOT NULL,
    channel_id uuid NOT NULL,
    token_id uuid NOT NULL,
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    priority smallint NOT NULL,
    expiration bigint NOT NULL,
    payload bytea NOT NULL,
    targets integer NOT NULL,
    PRIMARY KEY (app_id, push_id)
);
CREATE INDEX channel_push_of_channel ON channel_push (app_id, channel_id);

-- A push to one channel at Apple, and its outcome. It is leased as batches are: `due_at` moves to the end of the lease.
-- `due_at` is NULL once there is an outcome.
CREATE TABLE channel_delivery (
    app_id text COLLATE "C" NOT NULL,
    push_id uuid NOT NULL,
    environment text NOT NULL,
    bundle_id text NOT NULL,
    apns_channel_id text COLLATE "C" NOT NULL,
    team_id text NOT NULL,
    attempt smallint NOT NULL DEFAULT 0,
    due_at timestamptz,
    lease_owner uuid,
    outcome text,
    status smallint NOT NULL DEFAULT 0,
    reason text NOT NULL DEFAULT '',
    PRIMARY KEY (app_id, push_id, environment, bundle_id)
);
CREATE INDEX channel_delivery_due ON channel_delivery (app_id, due_at) WHERE due_at IS NOT NULL;
CREATE TYPE channel_outcome_row AS (
    app_id text, push_id uuid, environment text, bundle_id text, attempt smallint, due_at timestamptz, outcome text,
    status smallint, reason text
);
CREATE TYPE apple_channel_row AS (
    app_id text, channel_id uuid, environment text, bundle_id text, apns_channel_id text, remove_at timestamptz,
    attempt smallint
);
