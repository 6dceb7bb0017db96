-- The audit log. An entry is written in the transaction of its action. `token_id` is the API token of the actor, NULL for
-- the relay itself and for the command line on its machine. `publisher_id` is the publisher that sees the entry in its
-- log, NULL if only the operator does.
CREATE TABLE audit (
    audit_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at timestamptz NOT NULL,
    actor text NOT NULL CHECK (actor IN ('operator', 'publisher', 'relay')),
    token_id uuid,
    publisher_id uuid,
    action text NOT NULL,
    subject text NOT NULL,
    detail jsonb NOT NULL
);
CREATE INDEX audit_of_publisher ON audit (publisher_id, audit_id) WHERE publisher_id IS NOT NULL;
CREATE INDEX audit_at ON audit (at);
