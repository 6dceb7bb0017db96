-- :server
-- pg_settings leaves out a setting that this role may not read, where current_setting would fail.
SELECT current_setting('server_version') AS version, current_setting('server_version_num')::integer AS version_number,
       pg_is_in_recovery() OR current_setting('transaction_read_only')::boolean AS read_only,
       current_setting('max_connections')::integer AS max_connections,
       current_setting('superuser_reserved_connections')::integer AS reserved,
       (SELECT sum(numbackends)::integer FROM pg_stat_database) AS in_use,
       (SELECT setting FROM pg_settings WHERE name = 'data_directory') AS data_directory,
       (SELECT setting FROM pg_settings WHERE name = 'fsync') AS fsync,
       (SELECT setting FROM pg_settings WHERE name = 'synchronous_commit') AS synchronous_commit

-- :has_migrations
SELECT to_regclass('migration') IS NOT NULL

-- :applied_migrations
SELECT name FROM migration ORDER BY name
