-- The columns of a table that cannot be NULL, and its btree indexes on all rows. The name of an index column is NULL if
-- it is an expression, or has another collation or operator class than the default of the table's column. Selects
-- rows only for a table or materialized view without children, because the rows of several tables are not in one order,
-- or for a partitioned table, whose indexes all partitions have; and only if the role can see statistics of all columns
-- that matter, because without them the planner's estimates are arbitrary. Parameters: table, quoted as in SQL;
-- columns, those that matter.

SELECT relation_columns.not_null, key_index.name, key_index.columns, key_index.descending, key_index.nulls_first
FROM pg_catalog.pg_class AS relation
CROSS JOIN LATERAL (
    SELECT coalesce(array_agg(attname::text) FILTER (
        -- Since Postgres 18 a column may be declared NOT NULL and hold NULLs, until that is validated.
        WHERE attnotnull AND NOT EXISTS (
            SELECT FROM pg_catalog.pg_constraint
            WHERE conrelid = attrelid AND contype = 'n' AND conkey = ARRAY[attnum] AND NOT convalidated
        )
    ), '{}') AS not_null
    FROM pg_catalog.pg_attribute
    WHERE attrelid = relation.oid AND attnum > 0
) AS relation_columns
LEFT JOIN LATERAL (
    SELECT
        index_relation.relname::text AS name,
        array_agg(
            CASE WHEN attcollation = part.collation_oid AND opcdefault THEN attname::text END ORDER BY part.place
        ) AS columns,
        array_agg(part.option & 1 <> 0 ORDER BY part.place) AS descending,
        array_agg(part.option & 2 <> 0 ORDER BY part.place) AS nulls_first
    FROM pg_catalog.pg_index
    JOIN pg_catalog.pg_class AS index_relation ON index_relation.oid = indexrelid
    JOIN pg_catalog.pg_am ON pg_am.oid = index_relation.relam AND amname = 'btree'
    CROSS JOIN LATERAL unnest(indkey::int2[], indoption::int2[], indcollation::oid[], indclass::oid[])
        WITH ORDINALITY AS part (number, option, collation_oid, class_oid, place)
    JOIN pg_catalog.pg_opclass ON pg_opclass.oid = part.class_oid
    LEFT JOIN pg_catalog.pg_attribute ON attrelid = relation.oid AND attnum = part.number
    WHERE indrelid = relation.oid AND indisvalid AND indpred IS NULL
    GROUP BY index_relation.relname
) AS key_index ON true
WHERE relation.oid = to_regclass(:table) AND (relation.relkind = 'p' OR relation.relkind IN ('r', 'm')
        AND NOT EXISTS (SELECT FROM pg_catalog.pg_inherits WHERE inhparent = relation.oid))
    AND (
        SELECT count(*) FROM pg_catalog.pg_stats
        WHERE schemaname = relation.relnamespace::regnamespace::text
            AND tablename = relation.relname AND inherited = (relation.relkind = 'p') AND attname = ANY (CAST(:columns AS text[]))
    ) = cardinality(CAST(:columns AS text[]))
ORDER BY key_index.name
