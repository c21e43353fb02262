-- Sets, until the transaction ends, those of the settings that the server has. client_connection_check_interval is left
-- out except on Linux, because not every other system supports it. Parameter: settings, as a JSON object.

SELECT pg_catalog.set_config(wanted.name, wanted.setting, true)
FROM json_each_text(CAST(:settings AS json)) AS wanted (name, setting)
JOIN pg_catalog.pg_settings AS known ON lower(known.name) = lower(wanted.name)
WHERE wanted.name <> 'client_connection_check_interval' OR version() ~ 'linux'
