-- Modifiers of the columns of tables: of a timestamp, the digits of a second that it keeps. Parameter: tables.

SELECT attrelid, attnum, atttypmod
FROM pg_catalog.pg_attribute
WHERE attrelid = ANY (CAST(:tables AS oid[])) AND attnum > 0 AND NOT attisdropped
