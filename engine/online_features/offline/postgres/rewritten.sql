-- Tables that the transaction has read and that were truncated, rewritten or created between its snapshot and its first
-- look at them: Postgres shows them empty, or without what they held, to a snapshot that is older.
--
-- The catalog in the snapshot is compared with the catalog as it is now. The transaction holds locks on what it has
-- read, so nothing changes any more.

SELECT l.relation::regclass::text
FROM pg_catalog.pg_locks AS l
LEFT JOIN pg_catalog.pg_class AS c ON c.oid = l.relation
WHERE l.pid = pg_backend_pid()
    AND l.locktype = 'relation'
    AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())
    AND pg_get_indexdef(l.relation) IS NULL
    AND (c.oid IS NULL OR c.relfilenode <> 0 AND c.relfilenode <> pg_relation_filenode(c.oid))
