-- Undoes the SQL that notifies of changes of the table.

DROP TRIGGER IF EXISTS {trigger} ON {table};

DROP FUNCTION IF EXISTS {function}();
