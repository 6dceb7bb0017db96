-- A push that was cancelled: what is claimed of it from then on ends as cancelled.
ALTER TABLE push ADD cancelled_at timestamptz;
-- A batch that was under way when its push was cancelled: what its settlement would try again ends as cancelled.
ALTER TABLE batch ADD cancelled boolean NOT NULL DEFAULT false;
