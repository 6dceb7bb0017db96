-- Static statements of partitions.py. Those that name a partition are built there: a table name cannot be an argument.

-- :list_partitions
SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
WHERE i.inhparent = $1::text::regclass
