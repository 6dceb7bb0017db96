-- :find_customer
SELECT subject FROM scoped_identifier WHERE app_id = $1 AND value = $2 AND kind = 'c'

-- :lock_customer
SELECT subject FROM scoped_identifier WHERE app_id = $1 AND value = $2 AND kind = 'c' FOR NO KEY UPDATE

-- :list_of_customer
SELECT alias_id, created_at FROM alias WHERE app_id = $1 AND customer_id = $2 ORDER BY alias_id

-- :find
SELECT alias_id, created_at FROM alias WHERE app_id = $1 AND digest = $2 AND customer_id = $3

-- :count_holders
SELECT count(*) FROM alias WHERE app_id = $1 AND digest = $2

-- :insert
INSERT INTO alias (app_id, digest, customer_id, alias_id, created_at) VALUES ($1, $2, $3, $4, $5)

-- :delete
DELETE FROM alias WHERE app_id = $1 AND customer_id = $2 AND alias_id = $3 RETURNING true

-- :may_installations_attach
SELECT installations_attach_aliases FROM app WHERE app_id = $1
