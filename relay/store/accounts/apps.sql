-- :insert
INSERT INTO app (app_id, publisher_id, name, created_at)
SELECT $1, publisher_id, $3, $4 FROM publisher WHERE publisher_id = $2
ON CONFLICT DO NOTHING

-- :list
SELECT app_id, publisher_id, name, created_at, installations_attach_aliases FROM app
WHERE app_id > $1 AND ($3::uuid IS NULL OR publisher_id = $3) ORDER BY app_id LIMIT $2

-- :list_app_ids
-- The apps of a publisher.
SELECT app_id FROM app WHERE publisher_id = $1

-- :count_by_publisher
SELECT publisher_id, count(*) FROM app WHERE publisher_id = ANY($1::uuid[]) GROUP BY publisher_id

-- :find
SELECT app_id, publisher_id, name, created_at, installations_attach_aliases FROM app
WHERE app_id = $1 AND publisher_id = $2

-- :lock
SELECT app_id, publisher_id, name, created_at, installations_attach_aliases FROM app
WHERE app_id = $1 AND publisher_id = $2
FOR NO KEY UPDATE

-- :is_owned
SELECT true FROM app WHERE app_id = $1 AND publisher_id = $2

-- :change
UPDATE app SET installations_attach_aliases = $2 WHERE app_id = $1
