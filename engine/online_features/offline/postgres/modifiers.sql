-- Modifiers of the columns of tables: of a timestamp, the digits of a second that it keeps. NULL if that is not known:
-- a domain has a modifier of its own, and a view may select an expression that cuts digits off. Parameter: tables.

SELECT attrelid, attnum, CASE WHEN typtype = 'd' OR relkind IN ('v', 'm') THEN NULL ELSE atttypmod END
FROM pg_catalog.pg_attribute
JOIN pg_catalog.pg_type ON pg_type.oid = atttypid
JOIN pg_catalog.pg_class ON pg_class.oid = attrelid
WHERE attrelid = ANY (CAST(:tables AS oid[])) AND attnum > 0 AND NOT attisdropped
