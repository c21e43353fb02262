-- Values of a column with shares of the rows of a table, from its statistics: the commonest values, and the bounds of
-- the histogram, each of which stands for all values up to the next one. In the order of the column. Parameters: table,
-- quoted as in SQL; column. Put in: type, of the column; collation, a COLLATE clause or nothing.

WITH known AS (
    SELECT
        CAST(CAST(most_common_vals AS text) AS {type}[]) AS common, most_common_freqs AS shares,
        CAST(CAST(histogram_bounds AS text) AS {type}[]) AS bounds,
        greatest(0, 1 - null_frac - coalesce((SELECT sum(share) FROM unnest(most_common_freqs) AS share), 0)) AS others
    FROM pg_catalog.pg_stats
    JOIN pg_catalog.pg_namespace AS n ON n.nspname = schemaname
    JOIN pg_catalog.pg_class AS relation ON relation.relnamespace = n.oid AND relation.relname = tablename
    WHERE relation.oid = to_regclass(:table) AND attname = :column AND NOT inherited
)
SELECT CAST(bound.value AS text) AS shown, sum(share)::float8
FROM (
    SELECT value, share FROM known, unnest(common, shares) AS common (value, share)
    UNION ALL
    SELECT value, others / (cardinality(bounds) - 1) FROM known, unnest(bounds[1:cardinality(bounds) - 1]) AS value
) AS bound
WHERE share > 0
GROUP BY bound.value
ORDER BY bound.value {collation}
