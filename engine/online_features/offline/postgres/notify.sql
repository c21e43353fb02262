-- Notifies listening sessions of the name of the table when a change of it is committed, once per transaction. Running
-- this again changes nothing.

CREATE OR REPLACE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql AS $notify$
BEGIN
    PERFORM pg_catalog.pg_notify({channel}, TG_TABLE_SCHEMA || '.' || TG_TABLE_NAME);
    RETURN NULL;
END
$notify$;

CREATE OR REPLACE TRIGGER {trigger} AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON {table}
    FOR EACH STATEMENT EXECUTE FUNCTION {function}();
