-- :table_sizes
-- `rows` is the planner's estimate: counting would read everything.
SELECT coalesce(parent.relname, c.relname)::text AS name, sum(greatest(c.reltuples, 0))::bigint AS rows,
       sum(coalesce(pg_total_relation_size(c.oid), 0))::bigint AS bytes
FROM pg_class c
LEFT JOIN pg_inherits i ON i.inhrelid = c.oid
LEFT JOIN pg_class parent ON parent.oid = i.inhparent
WHERE c.relkind = 'r' AND c.relnamespace = current_schema()::text::regnamespace
GROUP BY 1 ORDER BY 3 DESC, 1

-- :partitions
SELECT parent.relname::text AS table, c.relname::text AS name, greatest(c.reltuples, 0)::bigint AS rows,
       coalesce(pg_total_relation_size(c.oid), 0) AS bytes
FROM pg_class parent
JOIN pg_inherits i ON i.inhparent = parent.oid
JOIN pg_class c ON c.oid = i.inhrelid
WHERE parent.relname = ANY($1::text[]) AND parent.relnamespace = current_schema()::text::regnamespace
ORDER BY 1, 2

-- :database_size
SELECT pg_database_size(current_database())
