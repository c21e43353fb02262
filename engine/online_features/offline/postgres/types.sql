-- What decides how values of a type go online. Parameter: oids.

SELECT t.oid, format_type(t.oid, NULL), t.typtype::text, t.typcategory = 'A' AND t.typelem <> 0, n.nspname = 'pg_catalog'
FROM pg_catalog.pg_type AS t
JOIN pg_catalog.pg_namespace AS n ON n.oid = t.typnamespace
WHERE t.oid = ANY (CAST(:oids AS oid[]))
