-- Pushes to every customer of an app, while they are cut into batches. `after` is the last installation that was looked
-- at. A node locks the row while it cuts a piece, for one transaction, so there is no lease to take over.
CREATE TABLE broadcast (
    app_id text COLLATE "C" NOT NULL,
    push_id uuid NOT NULL,
    token_kind text NOT NULL,
    listed_only boolean NOT NULL,
    after bigint NOT NULL DEFAULT 0,
    pieces integer NOT NULL DEFAULT 0,
    PRIMARY KEY (app_id, push_id)
);
CREATE TYPE broadcast_row AS (app_id text, push_id uuid, token_kind text, listed_only boolean);
