-- When the push was cancelled. Batches that are leased after that end as cancelled.
ALTER TABLE push ADD cancelled_at timestamptz;
-- The push was cancelled while this batch was under a lease: its retries end as cancelled.
ALTER TABLE batch ADD cancelled boolean NOT NULL DEFAULT false;
