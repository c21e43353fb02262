-- Tables and views whose names differ from a given one only in case, dots, quotes or schema. Parameter: name.

SELECT n.nspname::text, c.relname::text
FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f')
    AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')
    AND lower(translate(:name, '."', '')) IN (
        lower(translate(c.relname, '."', '')), lower(translate(n.nspname || c.relname, '."', ''))
    )
ORDER BY 1, 2
LIMIT 5
