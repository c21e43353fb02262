"""The error and the cure for each SQLSTATE of Postgres."""

from __future__ import annotations

from online_features.errors import (
    ColumnNotFoundError,
    OfflineAccessError,
    OfflineStoreUnavailableError,
    OnlineFeaturesError,
    QueryCanceledError,
    SourceError,
    SourceNotFoundError,
)

CONNECTION_LOST = "08"
LOGIN_REFUSED = "28"
UNTRANSLATABLE = "22P05"  # a character that the encoding of the database lacks

RUN_AGAIN = "run again; if it stays, look at the Postgres server"
CORRECT_CALLED = "correct what the query calls"
CORRECT_VALUE = "a value in the source cannot be computed: correct the query or the row"
CORRECT_ROW = "a constraint of the table refuses the rows: correct one of them"
CORRECT_FOREIGN = "correct the foreign table, its server or its user mapping"
CORRECT_LIMIT = "make the query or its rows smaller"
POOL_BY_TRANSACTION = "let the connection's pooler pool by session or transaction, not by statement"
POOLER = f"run again; if it stays, {POOL_BY_TRANSACTION}"
REACH_FOREIGN = "run again; if it stays, look at the foreign server that the source reads"

# By SQLSTATE or its class. The longest match counts; the empty one is for SQLSTATEs of later versions.
# https://www.postgresql.org/docs/current/errcodes-appendix.html
ERROR_BY_SQLSTATE: dict[str, tuple[type[OnlineFeaturesError], str]] = {
    "": (OfflineStoreUnavailableError, RUN_AGAIN),
    "00": (SourceError, CORRECT_CALLED),  # successes and warnings are errors when a function raises them
    "01": (SourceError, CORRECT_CALLED),
    "02": (SourceError, CORRECT_CALLED),
    "03": (SourceError, "correct the query: it is not a whole statement"),
    CONNECTION_LOST: (
        OfflineStoreUnavailableError,
        "run again; if it stays, look at the Postgres server, the connection's settings, what lies between (a pooler "
        "in statement mode ends every session of ours), and the role's idle_in_transaction_session_timeout, "
        "transaction_timeout and idle_session_timeout",
    ),
    "09": (SourceError, CORRECT_CALLED),
    "0A": (SourceError, "correct the query: Postgres cannot do this, or not in a run, which only reads"),
    "0B": (SourceError, CORRECT_CALLED),
    "0F": (SourceError, CORRECT_CALLED),
    "0L": (SourceError, CORRECT_CALLED),
    "0P": (OfflineAccessError, "check the role that the Postgres connection switches to"),
    "0Z": (SourceError, CORRECT_CALLED),
    "10": (SourceError, CORRECT_VALUE),
    "20": (SourceError, CORRECT_CALLED),
    "21": (SourceError, "correct the query: a subquery gives more rows than one"),
    "22": (SourceError, CORRECT_VALUE),
    "22021": (
        SourceError,
        "correct the row, whose text is not UTF-8 as it has to be in a database of encoding SQL_ASCII, or convert() "
        "it in a query",
    ),
    UNTRANSLATABLE: (
        SourceError,
        "leave the character out of the row, the name or the query: the encoding of the database lacks it",
    ),
    "23": (SourceError, CORRECT_ROW),
    "24": (SourceError, CORRECT_CALLED),
    "25": (SourceError, "take out of the query what acts on its transaction"),
    "25006": (
        SourceError,
        "a run reads in a read-only transaction: take the write out of the query; to append rows, connect to the "
        "primary, as a role whose transactions are not read-only",
    ),
    "25P03": (
        OfflineStoreUnavailableError,
        "run again; if it stays, raise idle_in_transaction_session_timeout for the role",
    ),
    "25P04": (OfflineStoreUnavailableError, "run again; if it stays, raise transaction_timeout for the role"),
    "26": (OfflineStoreUnavailableError, POOLER),
    "27": (SourceError, CORRECT_ROW),
    LOGIN_REFUSED: (
        OfflineAccessError,
        "check user and password, database and TLS settings of the Postgres connection",
    ),
    "2B": (SourceError, CORRECT_CALLED),
    "2D": (SourceError, "take out of the query what ends its transaction"),
    "2F": (SourceError, CORRECT_CALLED),
    "34": (SourceError, CORRECT_CALLED),
    "38": (SourceError, CORRECT_CALLED),
    "39": (SourceError, CORRECT_CALLED),
    "3B": (SourceError, CORRECT_CALLED),
    "3D": (OfflineAccessError, "check the database name of the Postgres connection"),
    "3F": (SourceNotFoundError, "name an existing schema in PostgresSource(table=…)"),
    "40": (OfflineStoreUnavailableError, RUN_AGAIN),
    "40002": (SourceError, CORRECT_ROW),
    "42": (SourceError, "correct the query or the names in PostgresSource"),
    "42501": (
        OfflineAccessError,
        "GRANT the role SELECT on the source and USAGE on its schema, and INSERT to append rows",
    ),
    "42703": (ColumnNotFoundError, "name an existing column, spelled and cased as in the source"),
    "42P01": (SourceNotFoundError, "name an existing table in PostgresSource(table=…), with its schema"),
    "42P05": (OfflineStoreUnavailableError, POOLER),
    "44": (SourceError, CORRECT_ROW),
    "53": (OfflineStoreUnavailableError, RUN_AGAIN),
    "53100": (OfflineStoreUnavailableError, "free disk space of the Postgres server, and run again"),
    "53200": (OfflineStoreUnavailableError, "run again; if it stays, lower work_mem or add memory to the server"),
    "53300": (
        OfflineStoreUnavailableError,
        "run again; if it stays, start fewer runs at once, or raise max_connections or the role's CONNECTION LIMIT",
    ),
    "53400": (SourceError, f"{CORRECT_LIMIT}, or raise the limit, such as temp_file_limit"),
    "54": (SourceError, CORRECT_LIMIT),
    "55": (OfflineStoreUnavailableError, "run again when the table can be read; REFRESH a materialized view first"),
    "55P02": (OfflineAccessError, "take the setting out of the options of the Postgres connection"),
    "55P03": (
        OfflineStoreUnavailableError,
        "run again when the table is not locked; if it stays, see pg_locks, or raise lock_timeout for the role",
    ),
    "55P04": (SourceError, CORRECT_CALLED),
    "57": (OfflineStoreUnavailableError, RUN_AGAIN),
    "57014": (
        QueryCanceledError,
        "run again; if it stays, make the query faster or raise statement_timeout, of OfflineStore or the role",
    ),
    "57P05": (OfflineStoreUnavailableError, "run again; if it stays, raise idle_session_timeout for the role"),
    "57P04": (OfflineAccessError, "check the database name of the Postgres connection"),
    "58": (OfflineStoreUnavailableError, RUN_AGAIN),
    "58P01": (SourceError, "restore on the server the file that the query needs, often an extension's library"),
    "58P02": (SourceError, CORRECT_CALLED),
    "58P03": (SourceError, CORRECT_CALLED),
    "72": (OfflineStoreUnavailableError, RUN_AGAIN),
    "F0": (OfflineStoreUnavailableError, RUN_AGAIN),
    "HV": (SourceError, CORRECT_FOREIGN),
    "HV000": (OfflineStoreUnavailableError, REACH_FOREIGN),
    "HV001": (OfflineStoreUnavailableError, REACH_FOREIGN),
    "HV00L": (OfflineStoreUnavailableError, REACH_FOREIGN),
    "HV00M": (OfflineStoreUnavailableError, REACH_FOREIGN),
    "HV00N": (OfflineStoreUnavailableError, REACH_FOREIGN),
    "HV014": (OfflineStoreUnavailableError, REACH_FOREIGN),
    "P0": (SourceError, CORRECT_CALLED),
    "XX": (OfflineStoreUnavailableError, RUN_AGAIN),  # also for what another session drops or alters meanwhile
    "XX001": (SourceError, "the table is corrupted: restore it, or leave out the rows that the server's log names"),
    "XX002": (SourceError, "an index is corrupted: REINDEX it"),
}


def decided_by(sqlstate: str) -> str:
    """Return the key of ``ERROR_BY_SQLSTATE`` that decides on a SQLSTATE: itself, its class, or the empty one."""
    return next(key for key in (sqlstate, sqlstate[:2], "") if key in ERROR_BY_SQLSTATE)
