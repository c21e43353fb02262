-- The columns of a table whose values only Postgres generates. Parameter: table, quoted as in SQL.

SELECT attname::text
FROM pg_catalog.pg_attribute
WHERE attrelid = to_regclass(:table) AND attnum > 0 AND NOT attisdropped AND (attidentity = 'a' OR attgenerated <> '')
