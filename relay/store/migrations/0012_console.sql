-- Sessions of the console. The browser holds a random id; `digest` is the digest of that id. A session has the permissions
-- of the API token that it began with, and ends with the token. `seen_at` is written at most once a minute.
CREATE TABLE console_session (
    digest bytea PRIMARY KEY,
    token_id uuid NOT NULL REFERENCES api_token (token_id),
    created_at timestamptz NOT NULL,
    seen_at timestamptz NOT NULL
);
CREATE INDEX console_session_seen ON console_session (seen_at);

-- When the current secret of a credential was stored. NULL: when the credential was created, or unknown because a node of
-- an earlier version replaced it.
ALTER TABLE credential ADD secret_since timestamptz;
