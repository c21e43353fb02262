"""Postgres failures as our errors: each driver's exceptions are translated here and nowhere else."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import adbc_driver_manager
import psycopg
import psycopg2
import pyarrow as pa
import sqlalchemy.exc

from online_features.drawing import is_producers
from online_features.errors import (
    ColumnNotFoundError,
    OfflineAccessError,
    OfflineStoreUnavailableError,
    OnlineFeaturesError,
    SourceError,
    SourceNotFoundError,
)
from online_features.feature_view import FeatureView

# By SQLSTATE, whole or its class; the longest match counts.
# https://www.postgresql.org/docs/current/errcodes-appendix.html
ERROR_BY_SQLSTATE: dict[str, tuple[type[OnlineFeaturesError], str]] = {
    "42P01": (SourceNotFoundError, "name an existing table in PostgresSource(table=…), with its schema"),
    "3F000": (SourceNotFoundError, "name an existing schema in PostgresSource(table=…)"),
    "42703": (ColumnNotFoundError, "name an existing column, spelled and cased as in the source"),
    "42501": (
        OfflineAccessError,
        "GRANT the role SELECT on the source and USAGE on its schema, and INSERT to append rows",
    ),
    "42": (SourceError, "correct the query or the names in PostgresSource"),
    "0A": (SourceError, "correct the query: a run can only read"),
    "21": (SourceError, "correct the query: a subquery gives more rows than one"),
    "54": (SourceError, "make the query or its rows smaller"),
    "P0": (SourceError, "correct what the query calls"),
    "22": (SourceError, "a value in the source cannot be computed: correct the query or the row"),
    "23": (SourceError, "a constraint of the table refuses the rows: correct one of them"),
    "25006": (SourceError, "a run reads in a read-only transaction: take the write out of the query"),
    "28": (OfflineAccessError, "check user and password of the Postgres connection"),
    "3D000": (OfflineAccessError, "check the database name of the Postgres connection"),
    "": (OfflineStoreUnavailableError, "run again; if it stays, look at the Postgres server"),
}

# A failed login has no SQLSTATE on the client's side, only libpq's words.
LOGIN_REFUSED = re.compile(
    r"password authentication failed|no password supplied|(role|user|database) \".*\" does not exist"
    r"|no pg_hba\.conf entry|authentication failed|permission denied for database"
)


# Errors of a statement that the same statement may not meet again.
PASSING = re.compile(r"canceling statement|terminating connection|deadlock|could not serialize")


@contextmanager
def translated(view: FeatureView) -> Iterator[None]:
    """Raise our error for the view in place of a driver's.

    :raises OnlineFeaturesError: from the driver's exception.
    """
    try:
        yield
    except (sqlalchemy.exc.DBAPIError, psycopg2.Error, adbc_driver_manager.Error) as error:
        if is_producers(error):
            raise
        theirs = error.orig if isinstance(error, sqlalchemy.exc.DBAPIError) else error
        sqlstate = theirs.sqlstate if isinstance(theirs, adbc_driver_manager.Error) else getattr(theirs, "pgcode", None)
        raise translation(view, sqlstate, str(theirs)) from error


@contextmanager
def translated_stream(view: FeatureView) -> Iterator[None]:
    """Raise our error for what breaks a stream of batches, of which Arrow keeps the message only.

    :raises OnlineFeaturesError: from Arrow's exception.
    """
    try:
        yield
    except (OSError, pa.ArrowException) as error:
        is_query_at_fault = "ERROR:" in str(error) and not PASSING.search(str(error))
        raise translation(view, "22" if is_query_at_fault else None, str(error)) from error


@contextmanager
def translated_listening() -> Iterator[None]:
    """Raise our error for what keeps a session from listening.

    :raises OnlineFeaturesError: from psycopg's exception.
    """
    try:
        yield
    except psycopg.Error as error:
        raise _translation("listening for changes", error.sqlstate, str(error)) from error


def translation(view: FeatureView, sqlstate: str | None, message: str) -> OnlineFeaturesError:
    """Our error for what Postgres or libpq said of a feature view."""
    return _translation(f"feature view {view.name!r}, {view.source.description}", sqlstate, message)


def _translation(subject: str, sqlstate: str | None, message: str) -> OnlineFeaturesError:
    state = sqlstate or ("28" if LOGIN_REFUSED.search(message) else "")
    error, cure = next(ERROR_BY_SQLSTATE[state[:n]] for n in (5, 2, 0) if state[:n] in ERROR_BY_SQLSTATE)
    # The server's own sentence, without the statement that the driver and the server quote around it.
    sentence = re.search(r"(?:ERROR|FATAL):\s+(.+)", message)
    said = sentence[1] if sentence else message.strip().partition("\n")[0]
    return error(f"{subject}: {said} -> {cure}")
