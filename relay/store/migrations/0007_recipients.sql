-- A push to every customer of an app needs a token with this permission. Older tokens were allowed it, and still are.
ALTER TABLE api_token ADD broadcast boolean NOT NULL DEFAULT true;
ALTER TABLE api_token ALTER broadcast SET DEFAULT false;

-- Aliases: email addresses that reach customers of an app, as keyed digests that differ from app to app. Several customers
-- may have one address.
CREATE TABLE alias (
    app_id text COLLATE "C" NOT NULL,
    digest bytea NOT NULL,
    customer_id bigint NOT NULL,
    alias_id uuid NOT NULL,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (app_id, digest, customer_id)
);
CREATE UNIQUE INDEX alias_of_customer ON alias (app_id, customer_id, alias_id);

-- Whether installations of the app may attach aliases to their own customer. By default not: an installation could claim
-- the address of another person.
ALTER TABLE app ADD installations_attach_aliases boolean NOT NULL DEFAULT false;

-- When an installation was last started, to about a day. A table of its own: installations are read in the order of their
-- rows on disk, and an update would move them.
CREATE TABLE sighting (
    app_id text COLLATE "C" NOT NULL,
    installation_id bigint NOT NULL,
    seen_at timestamptz NOT NULL,
    PRIMARY KEY (app_id, installation_id)
) WITH (fillfactor = 80);
