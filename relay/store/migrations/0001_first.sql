-- The first schema. `app_id` leads every large table's primary key and stands in every statement on one, so that
-- the tables can be distributed by it.

CREATE TABLE publisher (
    publisher_id uuid PRIMARY KEY,
    name text NOT NULL,
    created_at timestamptz NOT NULL
);

CREATE TABLE app (
    app_id text COLLATE "C" PRIMARY KEY,
    publisher_id uuid NOT NULL REFERENCES publisher,
    name text NOT NULL,
    created_at timestamptz NOT NULL
);
CREATE INDEX app_of_publisher ON app (publisher_id);

-- What authenticates to APNs. `bundle_id` is '' for a key that serves all topics of its team. `secret` is encrypted.
CREATE TABLE credential (
    credential_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    team_id text NOT NULL,
    environment text NOT NULL CHECK (environment IN ('production', 'sandbox')),
    bundle_id text NOT NULL DEFAULT '',
    kind text NOT NULL CHECK (kind IN ('token', 'certificate')),
    key_id text NOT NULL DEFAULT '',
    secret bytea NOT NULL,
    version integer NOT NULL DEFAULT 1,
    state text NOT NULL DEFAULT 'active' CHECK (state IN ('active', 'suspended')),
    state_reason text NOT NULL DEFAULT '',
    state_since timestamptz NOT NULL,
    created_at timestamptz NOT NULL,
    UNIQUE (team_id, environment, bundle_id)
);

-- API tokens: random, kept as SHA-256 digests.
CREATE TABLE api_token (
    digest bytea PRIMARY KEY,
    token_id uuid NOT NULL UNIQUE,
    kind text NOT NULL CHECK (kind IN ('push', 'manage', 'operator')),
    publisher_id uuid REFERENCES publisher,
    app_id text COLLATE "C" REFERENCES app,
    label text NOT NULL DEFAULT '',
    test_only boolean NOT NULL DEFAULT false,
    created_at timestamptz NOT NULL,
    expires_at timestamptz,
    revoked_at timestamptz,
    last_used_at timestamptz
);
CREATE INDEX api_token_of_app ON api_token (app_id);

CREATE TABLE customer (
    customer_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    external_ref text NOT NULL UNIQUE
);

-- A UDID is kept as a keyed digest only. A device under another customer is another device: its new owner must not
-- be linkable to the former one.
CREATE TABLE device (
    device_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    customer_id bigint NOT NULL REFERENCES customer,
    udid_digest bytea NOT NULL,
    UNIQUE (udid_digest, customer_id)
);

-- Whose a physical device is today. The row is also the lock of its UDID: whoever enrols copies on it holds it.
CREATE TABLE device_owner (
    udid_digest bytea PRIMARY KEY,
    device_id bigint NOT NULL
);

-- The apps that a device has, or had, copies of: where to look when the device changes hands.
CREATE TABLE device_app (
    device_id bigint NOT NULL,
    app_id text COLLATE "C" NOT NULL,
    PRIMARY KEY (device_id, app_id)
);

-- c_ and d_: minted once and stored, so that they never change.
CREATE TABLE scoped_identifier (
    app_id text COLLATE "C" NOT NULL,
    kind "char" NOT NULL CHECK (kind IN ('c', 'd')),
    subject bigint NOT NULL,
    value text COLLATE "C" NOT NULL,
    PRIMARY KEY (app_id, kind, subject),
    UNIQUE (app_id, value)
);

-- A copy of an app on a device. Its row stays the same over reinstalls and updates; uuid, bundle and team may change.
-- `environment` is NULL where the store does not know it. `serial` grows when the copy is retired or gets another
-- uuid: install_ tokens signed with an older one are refused. It comes from one sequence, so that it never returns,
-- not even where a uuid moves on to the row of the device's next owner.
CREATE SEQUENCE installation_serial;
CREATE TABLE installation (
    app_id text COLLATE "C" NOT NULL,
    installation_id bigint GENERATED ALWAYS AS IDENTITY,
    installation_uuid uuid NOT NULL,
    customer_id bigint NOT NULL,
    device_id bigint NOT NULL,
    alongside text NOT NULL,
    bundle_id text NOT NULL,
    team_id text NOT NULL,
    environment text CHECK (environment IN ('production', 'sandbox')),
    app_version text NOT NULL DEFAULT '',
    serial bigint NOT NULL DEFAULT nextval('installation_serial'),
    enrolled_at timestamptz NOT NULL,
    retired_at timestamptz,
    PRIMARY KEY (app_id, installation_id),
    UNIQUE (app_id, device_id, alongside)
);
CREATE UNIQUE INDEX installation_active ON installation (app_id, installation_uuid) WHERE retired_at IS NULL;
CREATE INDEX installation_of_customer ON installation (app_id, customer_id);

-- Which copy an installation UUID belongs to, or belonged to: no other copy may have it. Also for the one request
-- that names nothing else.
CREATE TABLE installation_app (
    installation_uuid uuid PRIMARY KEY,
    app_id text COLLATE "C" NOT NULL,
    installation_id bigint NOT NULL
);

CREATE TABLE device_token (
    app_id text COLLATE "C" NOT NULL,
    installation_id bigint NOT NULL,
    kind text NOT NULL DEFAULT 'apns',
    token bytea NOT NULL,
    registered_at timestamptz NOT NULL,
    retired_at timestamptz,
    retired_reason text,
    PRIMARY KEY (app_id, installation_id, kind)
);
-- One device token is one copy: registered for another installation, it leaves the former.
CREATE UNIQUE INDEX device_token_active ON device_token (app_id, token) WHERE retired_at IS NULL;

CREATE TABLE test_device (
    publisher_id uuid NOT NULL REFERENCES publisher,
    udid_digest bytea NOT NULL,
    test_device_id uuid NOT NULL UNIQUE,
    label text NOT NULL,
    failure_domain text NOT NULL DEFAULT 'ok',
    created_at timestamptz NOT NULL,
    PRIMARY KEY (publisher_id, udid_digest)
);

-- push_id is a UUIDv7: it holds the time, so pushes and deliveries are partitioned by it and a look-up by id reads
-- one partition. No foreign keys: what is inserted here was checked a moment ago, thousands of times a second.
CREATE TABLE push (
    app_id text COLLATE "C" NOT NULL,
    push_id uuid NOT NULL,
    token_id uuid NOT NULL,
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    push_type text NOT NULL,
    priority smallint NOT NULL,
    expiration bigint,
    collapse_id text,
    payload bytea NOT NULL,
    debug boolean NOT NULL,
    targets integer NOT NULL,
    skipped integer NOT NULL,
    PRIMARY KEY (app_id, push_id)
) PARTITION BY RANGE (push_id);

-- The outcomes: one row for all installations of a batch that ended in the same way at the same time.
CREATE TABLE delivery (
    app_id text COLLATE "C" NOT NULL,
    push_id uuid NOT NULL,
    delivery_id bigint GENERATED ALWAYS AS IDENTITY,
    batch_id bigint NOT NULL,
    attempt smallint NOT NULL,
    settled_at timestamptz NOT NULL,
    outcome text NOT NULL,
    status smallint NOT NULL,
    reason text NOT NULL,
    installations bigint[] NOT NULL,
    PRIMARY KEY (app_id, push_id, delivery_id)
) PARTITION BY RANGE (push_id);

-- What happened to each delivery to a listed test device, attempt by attempt.
CREATE TABLE trace (
    app_id text COLLATE "C" NOT NULL,
    push_id uuid NOT NULL,
    installation_id bigint NOT NULL,
    attempt smallint NOT NULL,
    record jsonb NOT NULL,
    PRIMARY KEY (app_id, push_id, installation_id, attempt)
) PARTITION BY RANGE (push_id);

CREATE TABLE push_default PARTITION OF push DEFAULT;
CREATE TABLE delivery_default PARTITION OF delivery DEFAULT;
CREATE TABLE trace_default PARTITION OF trace DEFAULT;

-- The queue. A batch is claimed by moving `due_at` to the end of the lease and writing `lease_owner`; whoever finds
-- it due again takes it over. `bulk` keeps large batches from standing before single sends.
CREATE TABLE batch (
    app_id text COLLATE "C" NOT NULL,
    push_id uuid NOT NULL,
    batch_id bigint NOT NULL,
    bulk boolean NOT NULL,
    attempt smallint NOT NULL DEFAULT 0,
    due_at timestamptz NOT NULL,
    lease_owner uuid,
    held_by bigint,
    last_reason text NOT NULL DEFAULT '',
    installations bigint[] NOT NULL,
    PRIMARY KEY (app_id, push_id, batch_id)
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 5000);
CREATE INDEX batch_due ON batch (app_id, bulk, due_at);
CREATE INDEX batch_held ON batch (held_by) WHERE held_by IS NOT NULL;

-- Rows that travel as one parameter: a list of these is written by one statement.
CREATE TYPE batch_key AS (app_id text, push_id uuid, batch_id bigint);
CREATE TYPE batch_row AS (
    app_id text, push_id uuid, batch_id bigint, attempt smallint, due_at timestamptz, lease_owner uuid, held_by bigint,
    last_reason text, installations bigint[], parent_id bigint
);
CREATE TYPE outcome_row AS (
    app_id text, push_id uuid, batch_id bigint, attempt smallint, outcome text, status smallint, reason text,
    installations bigint[]
);
CREATE TYPE retirement_row AS (app_id text, installation_id bigint, token bytea, reason text, evidence timestamptz);
