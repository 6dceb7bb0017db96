-- Broadcasts in the order of teams. APNs takes one team a connection, and a store has thousands of teams: a batch that
-- holds whole teams is sent over few connections.

-- Read along by a broadcast, with all that is needed to decide whether an installation is a target.
CREATE INDEX installation_by_team ON installation (app_id, team_id, installation_id)
    INCLUDE (device_id, environment, bundle_id) WHERE retired_at IS NULL;

-- Broadcasts that are cut in that order. `after_team` and `after_installation` are the last installation that is in a
-- batch already. It is a table of its own because nodes of the version before cut what is in `broadcast` by installation
-- id; a broadcast moves here when its first piece is cut, if none of them is running.
CREATE TABLE broadcast_by_team (
    app_id text COLLATE "C" NOT NULL,
    push_id uuid NOT NULL,
    token_kind text NOT NULL,
    listed_only boolean NOT NULL,
    after_team text NOT NULL DEFAULT '',
    after_installation bigint NOT NULL DEFAULT 0,
    pieces integer NOT NULL DEFAULT 0,
    PRIMARY KEY (app_id, push_id)
);

-- All broadcasts that have not been cut to their end.
CREATE VIEW open_broadcast AS
    SELECT app_id, push_id, pieces FROM broadcast
    UNION ALL
    SELECT app_id, push_id, pieces FROM broadcast_by_team;

-- Installations whose team changed while a broadcast was being cut, so that their place in its order did. `is_cut`: the
-- first change found them in a batch already. The others are cut with the last piece, wherever they are by then.
CREATE TABLE broadcast_move (
    app_id text COLLATE "C" NOT NULL,
    push_id uuid NOT NULL,
    installation_id bigint NOT NULL,
    is_cut boolean NOT NULL,
    PRIMARY KEY (app_id, push_id, installation_id)
);

-- A trigger, because nodes of the version before enrol too. It waits for a piece that is being cut, and the next piece
-- waits for its transaction: FOR SHARE against the cut's FOR UPDATE. So either of them sees all that the other did.
CREATE FUNCTION note_team_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO broadcast_move (app_id, push_id, installation_id, is_cut)
    SELECT b.app_id, b.push_id, new.installation_id,
           (old.team_id, old.installation_id) <= (b.after_team, b.after_installation)
    FROM (SELECT * FROM broadcast_by_team WHERE app_id = new.app_id ORDER BY push_id FOR SHARE) b
    ON CONFLICT DO NOTHING;
    RETURN NULL;
END $$;
CREATE TRIGGER installation_team_changed AFTER UPDATE OF team_id ON installation
    FOR EACH ROW WHEN (old.team_id IS DISTINCT FROM new.team_id) EXECUTE FUNCTION note_team_change();

-- Nodes keep what they know of credentials until this notice. The payload is "topic node", and no node has this id.
CREATE FUNCTION notify_credentials_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('push_relay', 'credentials -');
    RETURN NULL;
END $$;
CREATE TRIGGER credential_changed AFTER INSERT OR UPDATE OR DELETE ON credential
    FOR EACH STATEMENT EXECUTE FUNCTION notify_credentials_changed();
