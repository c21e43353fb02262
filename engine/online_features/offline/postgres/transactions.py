"""Our transactions in Postgres, with the settings that they need.

Every setting is local to its transaction, and transactions that only read are rolled back. So a session stays as it
was, and a pooler may give it to other applications.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from functools import partial
from typing import Any

import adbc_driver_manager
import psycopg2
import sqlalchemy as sa
from adbc_driver_postgresql import dbapi
from sqlalchemy.dialects import postgresql
from sqlalchemy.pool import NullPool

from online_features.common.concurrency import interruptibly
from online_features.errors import OfflineStoreUnavailableError, OptionError
from online_features.feature_view import FeatureView
from online_features.offline.postgres import sql_files
from online_features.offline.postgres.conninfo import Conninfo
from online_features.offline.postgres.postgres_failures import translated, translated_as
from online_features.offline.postgres.postgres_server import PostgresServer

# Transactions of this name only read: they do not hold back the horizon of other runs.
READER_NAME = "online_features snapshot"

READ_ONLY = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY"

# How values are printed and read, independent of the settings of server, database and role.
SETTINGS = {
    "TimeZone": "UTC",
    "DateStyle": "ISO, YMD",
    "IntervalStyle": "iso_8601",
    "bytea_output": "hex",
    "extra_float_digits": "1",
    "quote_all_identifiers": "off",
    "standard_conforming_strings": "on",
    "client_encoding": "UTF8",
}

# SQLSTATEs of a snapshot that cannot be imported: unknown, before and since Postgres 16; of an ended transaction.
NO_SNAPSHOT = frozenset({"22023", "42704", "55000"})

# Makes Postgres end the query of a client that was killed; otherwise the query would run until it has rows to send.
WATCH_CLIENT = {"client_connection_check_interval": "1s"}

# Without this, ADBC loads every column of every table at each connection, which takes seconds in a large database. We
# need built-in types only: all others are cast to text.
BUILTIN_TYPES = {"adbc.postgresql.type_resolver_mode": "builtin"}

# The range of time limits in Postgres, which keeps whole milliseconds in 32 bits.
SHORTEST_TIMEOUT = timedelta(milliseconds=1)
LONGEST_TIMEOUT = timedelta(milliseconds=2**31 - 1)


class Transactions:
    """Opens connections to Postgres with the settings that every transaction needs.

    :param conninfo: of each connection, as :func:`~online_features.offline.postgres.conninfo.conninfo_of` makes it.
    :param statement_timeout: how long each statement may take; ``None`` leaves that to server, role and URI.
    :raises OptionError: when the time-out is out of the range of Postgres.
    """

    def __init__(self, conninfo: Conninfo, statement_timeout: timedelta | None) -> None:
        self._conninfo = conninfo
        settings = {**SETTINGS, **WATCH_CLIENT, **_limits(statement_timeout)}
        self._set_reading = _set_locally({**settings, "application_name": READER_NAME})
        # Read-only like a snapshot, because these statements contain the user's query, too.
        self._reading = _engine(conninfo, f"{READ_ONLY}; {self._set_reading}")
        self._writing = _engine(conninfo, _set_locally(settings))

    @contextmanager
    def reading(self, view: FeatureView) -> Iterator[sa.Connection]:
        """Yield a connection whose transactions are read-only and are rolled back."""
        with translated(view), self._reading.connect() as connection:
            yield connection

    def ping(self) -> None:
        """Send a trivial query to see whether Postgres answers.

        :raises OnlineFeaturesError: when it does not.
        """
        with translated_as("offline store"), self._reading.connect() as connection:
            connection.execute(sa.select(sa.literal(1)))

    def server(self) -> PostgresServer:
        """Read what the server says of itself and of the login; errors are those of :meth:`ping`."""
        with translated_as("offline store"), self._reading.connect() as connection:
            return PostgresServer(**connection.execute(sql_files.statement("server")).mappings().one())

    @contextmanager
    def writing(self, view: FeatureView) -> Iterator[sa.Connection]:
        """Yield a connection in a transaction; leaving it commits."""
        with translated(view), self._writing.begin() as connection:
            yield connection

    @contextmanager
    def exporting(self, view: FeatureView) -> Iterator[str]:
        """Yield the id of a snapshot, which other transactions can import while the context is open."""
        with self.reading(view) as connection:
            connection.execute(sa.select(sa.func.set_config("idle_in_transaction_session_timeout", "0", sa.true())))
            yield connection.execute(sa.select(sa.func.pg_export_snapshot())).scalar_one()

    @contextmanager
    def streaming(self, view: FeatureView, *, snapshot: str | None = None) -> Iterator[dbapi.Cursor]:
        """Yield ADBC's cursor in a read-only, repeatable-read transaction.

        :param snapshot: that :meth:`exporting` has yielded; by default the transaction has its own.
        """
        with (
            translated(view),
            dbapi.connect(self._conninfo(), db_kwargs=BUILTIN_TYPES) as connection,
            connection.cursor() as cursor,
        ):
            cursor.execute(READ_ONLY)
            if snapshot is not None:
                _import_snapshot(cursor, view, snapshot)
            cursor.execute(self._set_reading)
            cursor.fetch_arrow_table()
            yield cursor
            # Only after a success: otherwise it would wait for the rest of the rows. Closing rolls back in any case.
            with suppress(adbc_driver_manager.Error):
                connection.rollback()
                connection.adbc_connection.set_autocommit(True)  # ends the transaction that the rollback has begun


class InterruptibleCursor(psycopg2.extensions.cursor):
    """Executes statements :func:`~online_features.common.concurrency.interruptibly`."""

    def execute(self, query: Any, vars: Any = None) -> None:  # noqa: A002 - psycopg2's name
        """Execute a statement; an exception that a signal's handler raises cancels it."""
        interruptibly(partial(super().execute, query, vars), self.connection.cancel)


def _import_snapshot(cursor: dbapi.Cursor, view: FeatureView, snapshot: str) -> None:
    """Read what another transaction does.

    :raises OfflineStoreUnavailableError: when the server does not have its snapshot.
    """
    try:
        cursor.execute(_with_literals(sa.text("SET TRANSACTION SNAPSHOT :snapshot").bindparams(snapshot=snapshot)))
    except adbc_driver_manager.Error as error:
        if error.sqlstate not in NO_SNAPSHOT:
            raise
        raise OfflineStoreUnavailableError(
            f"feature view {view.name!r}: the snapshot of the run is not on this Postgres server: the session that "
            "exported it has ended, or sessions are spread over several servers -> run again, or with parallel=1"
        ) from error


def _engine(conninfo: Conninfo, begin: str) -> sa.Engine:
    """Make an engine whose transactions begin with these statements."""

    def connect() -> Any:
        return psycopg2.connect(conninfo(), cursor_factory=InterruptibleCursor)

    engine = sa.create_engine("postgresql+psycopg2://", creator=connect, poolclass=NullPool, future=True)

    def begun(connection: sa.Connection) -> None:
        cursor: Any = connection.connection.cursor()
        try:
            with cursor:
                cursor.execute(begin)
        except psycopg2.OperationalError:
            connection.invalidate()  # otherwise the pool would roll back in a session that is gone
            raise

    sa.event.listen(engine, "begin", begun)
    return engine


def _set_locally(settings: dict[str, str]) -> str:
    """Return one statement that applies the settings that the server has, until the transaction ends."""
    return _with_literals(sql_files.statement("set_locally").bindparams(settings=json.dumps(settings)))


def _with_literals(statement: sa.TextClause) -> str:
    """Return a statement with its parameters as quoted literals."""
    dialect = postgresql.dialect()  # type: ignore[no-untyped-call]
    return str(statement.compile(dialect=dialect, compile_kwargs={"literal_binds": True}))


def _limits(statement_timeout: timedelta | None) -> dict[str, str]:
    """Return the settings that limit a statement.

    :raises OptionError: when the time-out is out of the range of Postgres.
    """
    if statement_timeout is None:
        return {}
    if not SHORTEST_TIMEOUT <= statement_timeout <= LONGEST_TIMEOUT:
        raise OptionError(
            f"statement_timeout={statement_timeout!r} is out of the range of Postgres "
            "-> give one millisecond to 24 days, or None to leave it to the server"
        )
    return {"statement_timeout": str(statement_timeout // SHORTEST_TIMEOUT)}
