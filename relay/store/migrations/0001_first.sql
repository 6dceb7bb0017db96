-- The first schema. `app_id` leads the primary key of every large table and stands in every statement on one, so that
-- the rows of an app can be kept together.

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

-- Credentials for APNs. `bundle_id` is '' for a key that serves all topics of its team. `secret` is encrypted.
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

-- API tokens: random texts, stored as SHA-256 digests.
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

-- A UDID is stored as a keyed digest only. A physical device has one row for each customer it belonged to, so that its
-- new owner cannot be linked to the former one.
CREATE TABLE device (
    device_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    customer_id bigint NOT NULL REFERENCES customer,
    udid_digest bytea NOT NULL,
    UNIQUE (udid_digest, customer_id)
);

-- The current owner of a physical device. An enrolment on the device locks this row.
CREATE TABLE device_owner (
    udid_digest bytea PRIMARY KEY,
    device_id bigint NOT NULL
);

-- The apps with installations on a device, now or formerly: where to look when the device changes hands.
CREATE TABLE device_app (
    device_id bigint NOT NULL,
    app_id text COLLATE "C" NOT NULL,
    PRIMARY KEY (device_id, app_id)
);

-- The identifiers `c_…` and `d_…`. They are minted once and stored, so that they never change.
CREATE TABLE scoped_identifier (
    app_id text COLLATE "C" NOT NULL,
    kind "char" NOT NULL CHECK (kind IN ('c', 'd')),
    subject bigint NOT NULL,
    value text COLLATE "C" NOT NULL,
    PRIMARY KEY (app_id, kind, subject),
    UNIQUE (app_id, value)
);

-- An installation: a copy of an app on a device. It keeps its row over reinstalls and updates; uuid, bundle and team may
-- change. `environment` is NULL if the store does not know it. `serial` grows when the installation is retired or gets
-- another uuid: install_ tokens signed with an older serial are refused. It comes from one sequence, so that no serial
-- returns, even when a uuid moves to the row of the device's next owner.
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

-- The installation that an installation UUID belongs to, or belonged to: no other installation may have it. One request
-- of the API names an installation by this UUID alone.
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
-- A device token belongs to one installation. When it is registered for another one, the former loses it.
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

-- push_id is a UUIDv7, which begins with the time: pushes and deliveries are partitioned by it, and a look-up by id reads
-- one partition. No foreign keys: rows are inserted thousands of times a second and were checked just before.
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

-- Outcomes: one row for all installations of a batch that ended together with one outcome, status and reason.
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

-- Records of attempts at listed test devices, one for each attempt.
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

-- The queue. A lease on a batch moves `due_at` to the end of the lease and sets `lease_owner`. A batch that is due again
-- is taken over by another node. `bulk` keeps large batches from delaying small ones.
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

-- Types of rows that are passed as one array parameter and written by one statement.
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
