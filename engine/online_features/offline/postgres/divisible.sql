-- How a table can be divided so that every entity stays whole. Selects no row for views, foreign tables, and tables with
-- foreign partitions, whose pages cannot be sampled. Parameters: table, quoted as in SQL; keys, names of the join keys.
--
--   size            of the table with its partitions and children, in bytes
--   has_statistics  whether statistics of the keys are of all rows, and of about as many as there are
--   leading         the keys with which an index on all rows begins, in the order of the column
--   collations      JSON: each key that has a collation, with the quoted name of it and its version on this server
--   partitions      JSON: pairs of name and bytes, if the table is partitioned by join keys, and every partition can be
--                   read by its own name as through the table; else NULL

WITH RECURSIVE tree (oid) AS (
    SELECT CAST(to_regclass(:table) AS oid)
    UNION
    SELECT inhrelid FROM pg_catalog.pg_inherits JOIN tree ON inhparent = tree.oid
), key AS (
    SELECT attrelid, attnum, attname::text AS name, attcollation
    FROM pg_catalog.pg_attribute
    WHERE attrelid = to_regclass(:table) AND attname = ANY (CAST(:keys AS text[])) AND NOT attisdropped
)
SELECT
    (SELECT sum(pg_relation_size(oid)) FROM tree)::bigint AS size,
    relation.relkind <> 'p' AND (SELECT count(*) FROM tree) = 1
        AND pg_stat_get_mod_since_analyze(relation.oid) <= relation.reltuples / 5
        -- On a standby, nothing counts the changes.
        AND pg_relation_size(relation.oid) / current_setting('block_size')::bigint <= relation.relpages * 1.2
        AS has_statistics,
    ARRAY(
        SELECT DISTINCT key.name
        FROM pg_catalog.pg_index
        JOIN pg_catalog.pg_class AS index_relation ON index_relation.oid = indexrelid
        JOIN pg_catalog.pg_am ON pg_am.oid = index_relation.relam AND amname = 'btree'
        JOIN pg_catalog.pg_opclass ON pg_opclass.oid = indclass[0] AND opcdefault
        JOIN key ON key.attnum = indkey[0] AND key.attcollation = indcollation[0]
        WHERE indrelid = relation.oid AND indisvalid AND indpred IS NULL
    ) AS leading,
    (
        SELECT coalesce(json_object_agg(key.name, json_build_array(
            format('%I.%I', nspname, collname),
            CASE WHEN collprovider = 'd'
                THEN (SELECT pg_database_collation_actual_version(oid) FROM pg_catalog.pg_database WHERE datname = current_database())
                ELSE pg_collation_actual_version(pg_collation.oid)
            END
        )), '{}')
        FROM key
        JOIN pg_catalog.pg_collation ON pg_collation.oid = key.attcollation
        JOIN pg_catalog.pg_namespace ON pg_namespace.oid = collnamespace
    ) AS collations,
    (
        SELECT CASE WHEN bool_and(part.relkind IN ('r', 'p') AND NOT part.relrowsecurity AND nspname !~ '[.]'
                AND has_schema_privilege(pg_namespace.oid, 'USAGE') AND has_table_privilege(part.oid, 'SELECT'))
            THEN json_agg(json_build_array(
                nspname || '.' || part.relname,
                (SELECT sum(pg_relation_size(relid)) FROM pg_partition_tree(part.oid))
            ) ORDER BY part.oid)
        END
        FROM pg_catalog.pg_inherits
        JOIN pg_catalog.pg_class AS part ON part.oid = inhrelid
        JOIN pg_catalog.pg_namespace ON pg_namespace.oid = part.relnamespace
        WHERE inhparent = relation.oid AND NOT relation.relrowsecurity AND EXISTS (
            SELECT FROM pg_catalog.pg_partitioned_table AS partitioned
            WHERE partrelid = relation.oid AND NOT EXISTS (
                SELECT FROM unnest(partattrs::int2[], partcollation::oid[]) AS of_key (number, collation_oid)
                LEFT JOIN key ON key.attnum = of_key.number AND key.attcollation = of_key.collation_oid
                WHERE key.attnum IS NULL
            )
        )
    ) AS partitions
FROM pg_catalog.pg_class AS relation
WHERE relation.oid = to_regclass(:table) AND relation.relkind IN ('r', 'p', 'm')
    AND NOT EXISTS (SELECT FROM tree JOIN pg_catalog.pg_class USING (oid) WHERE relkind = 'f')
