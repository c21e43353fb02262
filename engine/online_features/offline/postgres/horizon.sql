-- The present, the session with the oldest transaction in flight that may yet commit rows of this database, the oldest
-- prepared transaction, and whether transactions in flight are hidden: from a role that may not see other sessions,
-- by a session that does not track its activity, and on a standby, whose primary runs them. Parameter: snapshot, the
-- application_name of read-only snapshots of runs. The text of queries is never selected, because it may hold a secret.
--
-- The present comes first: a transaction that begins after it does not matter.
--
-- On a standby that has replayed less than it received, or receives nothing, the present is the last replayed commit.
--
-- A session is active before it shows the start of its transaction, so until then the start of its query counts.

SELECT
    CASE
        WHEN NOT pg_is_in_recovery() THEN clock_timestamp()
        WHEN pg_last_wal_receive_lsn() = pg_last_wal_replay_lsn()
            AND EXISTS (SELECT FROM pg_catalog.pg_stat_wal_receiver) THEN clock_timestamp()
        ELSE coalesce(pg_last_xact_replay_timestamp(), (SELECT checkpoint_time FROM pg_catalog.pg_control_checkpoint()))
    END,
    (
        SELECT to_json(oldest) FROM (
            SELECT coalesce(xact_start, query_start) AS since, pid, usename AS "user", application_name AS application
            FROM pg_catalog.pg_stat_activity
            WHERE datname = current_database() AND pid <> pg_backend_pid()
                AND state IS DISTINCT FROM 'idle' AND application_name <> :snapshot
                AND backend_type NOT IN ('autovacuum worker', 'walsender', 'parallel worker')
                AND coalesce(xact_start, query_start) IS NOT NULL
            ORDER BY since LIMIT 1
        ) AS oldest
    ),
    (
        SELECT to_json(oldest) FROM (
            SELECT prepared AS since, gid AS prepared, owner AS "user" FROM pg_catalog.pg_prepared_xacts
            WHERE database = current_database() ORDER BY since LIMIT 1
        ) AS oldest
    ),
    pg_is_in_recovery() OR EXISTS (
        SELECT FROM pg_catalog.pg_stat_activity WHERE datname = current_database() AND (backend_type IS NULL OR state = 'disabled')
    )
