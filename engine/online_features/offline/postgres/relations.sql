-- The relations that the transaction has locked to read the source, with values that show whether their rows were
-- replaced or changed. Parameters: table, quoted as in SQL, or NULL; keys, names of the join keys; timestamps, names of
-- the columns by which increments select rows.
--
--   version       changes when rows may have been replaced as a whole: by TRUNCATE, REFRESH, a rewrite, another view
--   size          of a table, in bytes
--   inserted, updated, deleted
--                 rows, since statistics were reset, including those of transactions that were rolled back
--   live          rows in the table, according to statistics
--   is_part       whether it is a partition or child of another table
--   bound         the condition that the rows of a partition meet, as SQL
--   is_readable   whether these timestamps can be selected from it by its own name
--   is_subscribed whether logical replication writes it: its rows are committed here later than they were created
--   is_source     whether it is the table itself
--   is_by_entity  whether it has at most one row per entity

SELECT
    c.oid, n.nspname::text AS schema, c.relname::text AS name, c.relkind::text AS kind,
    CASE c.relkind
        WHEN 'v' THEN md5(pg_get_viewdef(c.oid))
        -- REFRESH CONCURRENTLY keeps the file and changes rows.
        WHEN 'm' THEN concat_ws(
            ':', pg_relation_filenode(c.oid), pg_stat_get_tuples_inserted(c.oid), pg_stat_get_tuples_deleted(c.oid)
        )
        ELSE coalesce(pg_relation_filenode(c.oid)::text, '')
    END AS version,
    CASE WHEN c.relkind = 'r' THEN pg_relation_size(c.oid) ELSE 0 END AS size,
    pg_stat_get_tuples_inserted(c.oid) AS inserted,
    pg_stat_get_tuples_updated(c.oid) AS updated,
    pg_stat_get_tuples_deleted(c.oid) AS deleted,
    pg_stat_get_live_tuples(c.oid) AS live,
    EXISTS (SELECT FROM pg_catalog.pg_inherits WHERE inhrelid = c.oid) AS is_part,
    pg_get_partition_constraintdef(c.oid) AS bound,
    has_table_privilege(c.oid, 'SELECT') AND NOT EXISTS (
        SELECT FROM unnest(CAST(:timestamps AS text[])) AS wanted (name)
        WHERE NOT EXISTS (
            SELECT FROM pg_catalog.pg_attribute WHERE attrelid = c.oid AND attname = wanted.name AND NOT attisdropped
        )
    ) AS is_readable,
    EXISTS (SELECT FROM pg_catalog.pg_subscription_rel WHERE srrelid = c.oid) AS is_subscribed,
    c.oid IS NOT DISTINCT FROM to_regclass(:table) AS is_source,
    EXISTS (
        SELECT FROM pg_catalog.pg_index
        WHERE indrelid = c.oid AND indisunique AND indisvalid AND indpred IS NULL AND indexprs IS NULL
            AND NOT EXISTS (
                SELECT FROM unnest(indkey::int2[]) WITH ORDINALITY AS part (number, place)
                JOIN pg_catalog.pg_attribute ON attrelid = c.oid AND attnum = part.number
                WHERE part.place <= indnkeyatts AND attname <> ALL (CAST(:keys AS text[]))
            )
    ) AS is_by_entity
FROM pg_catalog.pg_locks AS l
JOIN pg_catalog.pg_class AS c ON c.oid = l.relation
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE l.pid = pg_backend_pid()
    AND l.locktype = 'relation'
    AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())
    AND c.relkind IN ('r', 'p', 'm', 'f', 'v')
    AND n.nspname <> 'pg_catalog'
ORDER BY c.oid
