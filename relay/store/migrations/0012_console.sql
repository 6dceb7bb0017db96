-- Who is signed in to the console. The browser holds a random id, and here is its digest. Each session is as good as the
-- API token that it began with, and ends with that. `seen_at` is written at most once a minute.
CREATE TABLE console_session (
    digest bytea PRIMARY KEY,
    token_id uuid NOT NULL REFERENCES api_token (token_id),
    created_at timestamptz NOT NULL,
    seen_at timestamptz NOT NULL
);
CREATE INDEX console_session_seen ON console_session (seen_at);

-- Since when a credential has the secret that it has. NULL: since it was made, or a node of the version before replaced it.
ALTER TABLE credential ADD secret_since timestamptz;
