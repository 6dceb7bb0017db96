-- A push to every customer of an app needs a token that was made for it. Tokens from before this could do it, and still can.
ALTER TABLE api_token ADD broadcast boolean NOT NULL DEFAULT true;
ALTER TABLE api_token ALTER broadcast SET DEFAULT false;

-- E-mail addresses that customers of an app are reached by, as keyed digests that differ from app to app. Several
-- customers may have one of them.
CREATE TABLE alias (
    app_id text COLLATE "C" NOT NULL,
    digest bytea NOT NULL,
    customer_id bigint NOT NULL,
    alias_id uuid NOT NULL,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (app_id, digest, customer_id)
);
CREATE UNIQUE INDEX alias_of_customer ON alias (app_id, customer_id, alias_id);

-- Whether copies of the app may attach aliases to their own customer: any copy could claim somebody else's address.
ALTER TABLE app ADD installations_attach_aliases boolean NOT NULL DEFAULT false;

-- When a copy was last seen to be started, about to the day. A table of its own: the copies themselves are read in
-- the order in which they lie, and must not move because somebody looked at their phone.
CREATE TABLE sighting (
    app_id text COLLATE "C" NOT NULL,
    installation_id bigint NOT NULL,
    seen_at timestamptz NOT NULL,
    PRIMARY KEY (app_id, installation_id)
) WITH (fillfactor = 80);
