-- What the server says of itself and of the session's login. Without the trailing build of a distribution, such as
-- "15.14 (Debian 15.14-0+deb12u1)".

SELECT
    split_part(current_setting('server_version'), ' ', 1) AS version,
    current_setting('server_version_num')::integer AS number,
    current_user::text AS "user",
    current_database()::text AS database,
    pg_is_in_recovery() AS is_standby,
    coalesce((SELECT ssl FROM pg_catalog.pg_stat_ssl WHERE pid = pg_backend_pid()), false) AS uses_tls,
    pg_has_role('pg_read_all_stats', 'USAGE') AS sees_sessions
