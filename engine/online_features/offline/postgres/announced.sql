-- Whether the trigger is on the table and fires. Parameters: table, quoted as in SQL, and trigger.

SELECT EXISTS (
    SELECT FROM pg_catalog.pg_trigger
    WHERE tgrelid = to_regclass(:table) AND tgname = :trigger AND tgenabled <> 'D'
)
