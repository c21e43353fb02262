-- Postgres tells whoever listens which table has changed, when the change is committed; many changes of one transaction
-- are told once. Names in braces are quoted and filled in. Running it again changes nothing.

CREATE OR REPLACE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql AS $notify$
BEGIN
    PERFORM pg_catalog.pg_notify({channel}, TG_TABLE_SCHEMA || '.' || TG_TABLE_NAME);
    RETURN NULL;
END
$notify$;

CREATE OR REPLACE TRIGGER {trigger} AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON {table}
    FOR EACH STATEMENT EXECUTE FUNCTION {function}();
