-- :insert
INSERT INTO publisher (publisher_id, name, created_at) VALUES ($1, $2, $3)

-- :list
SELECT publisher_id, name, created_at FROM publisher WHERE publisher_id > $1 ORDER BY publisher_id LIMIT $2

-- :find
SELECT publisher_id, name, created_at FROM publisher WHERE publisher_id = $1

-- :exists
SELECT true FROM publisher WHERE publisher_id = $1
