"""Translation of the exceptions of Postgres's drivers to our errors."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import adbc_driver_manager
import psycopg
import psycopg2
import sqlalchemy.exc
from adbc_driver_manager import AdbcStatusCode

from online_features.errors import OfflineAccessError, OfflineStoreUnavailableError, OnlineFeaturesError
from online_features.feature_view import FeatureView
from online_features.offline.postgres.sqlstates import (
    CONNECTION_LOST,
    ERROR_BY_SQLSTATE,
    LOGIN_REFUSED,
    POOL_BY_TRANSACTION,
    decided_by,
)
from online_features.producers.producer_errors import is_producers

# Errors that ADBC itself detects have a status but no SQLSTATE.
SQLSTATE_BY_STATUS = {
    AdbcStatusCode.UNKNOWN: CONNECTION_LOST,
    AdbcStatusCode.NOT_IMPLEMENTED: "0A000",
    AdbcStatusCode.NOT_FOUND: "42704",
    AdbcStatusCode.ALREADY_EXISTS: "42710",
    AdbcStatusCode.INVALID_ARGUMENT: "22023",
    AdbcStatusCode.INVALID_STATE: CONNECTION_LOST,
    AdbcStatusCode.INVALID_DATA: "22000",
    AdbcStatusCode.INTEGRITY: "23000",
    AdbcStatusCode.INTERNAL: CONNECTION_LOST,
    AdbcStatusCode.IO: CONNECTION_LOST,
    AdbcStatusCode.CANCELLED: "57014",
    AdbcStatusCode.TIMEOUT: "57014",
    AdbcStatusCode.UNAUTHENTICATED: LOGIN_REFUSED,
    AdbcStatusCode.UNAUTHORIZED: "42501",
}

# A failed login has no SQLSTATE on the client's side, only a message of libpq, of the server or of a pooler. The server
# writes it in the language of its lc_messages: in languages other than English a refusal counts as transient.
REFUSAL = re.compile(
    r"authentication failed|no password supplied|empty password|(role|user|database) \".*\" does not exist"
    r"|no such (user|database)|pg_hba\.conf|permission denied for database|is not permitted to log in"
    r"|is not currently accepting connections|authentication method requirement|channel binding required"
    r"|server does not support SSL|certificate verify failed|server certificate for|certificate file|private key file"
    r"|alert certificate required|alert unknown ca|requires a valid client certificate"
    r"|unrecognized configuration parameter|invalid value for parameter"
    r"|permission denied to set parameter|cannot be changed"
)

# Errors of PgBouncer, libpq and Postgres that only their messages distinguish.
ERROR_BY_WORDS: dict[str, tuple[type[OnlineFeaturesError], str]] = {
    "unsupported startup parameter": (
        OfflineAccessError,
        "take it out of the Postgres connection, whose pooler does not forward it: set it for the role (ALTER ROLE … "
        "SET), or give statement_timeout= to the run",
    ),
    "transaction blocks not allowed": (OfflineAccessError, POOL_BY_TRANSACTION),
    "timeout expired": (
        OfflineStoreUnavailableError,
        "check host and port of the Postgres connection; if its server is slow to answer, raise connect_timeout",
    ),
    # When a server ends a session, drivers keep its message at most, and not its SQLSTATE.
    "due to idle-in-transaction timeout": ERROR_BY_SQLSTATE["25P03"],
    "due to transaction timeout": ERROR_BY_SQLSTATE["25P04"],
    "due to idle-session timeout": ERROR_BY_SQLSTATE["57P05"],
}
CHARACTER = re.compile(r'character with byte sequence ((?:0x[0-9a-f]{2} )+)in encoding "UTF8"')


@contextmanager
def translated(view: FeatureView) -> Iterator[None]:
    """Raise our error for the view in place of a driver's.

    :raises OnlineFeaturesError: from the driver's exception.
    """
    with translated_as(_subject(view)):
        yield


@contextmanager
def translated_as(subject: str) -> Iterator[None]:
    """Raise our error in place of a driver's.

    :param subject: what the message begins with.
    :raises OnlineFeaturesError: from the driver's exception.
    """
    try:
        yield
    except (sqlalchemy.exc.DBAPIError, psycopg2.Error, adbc_driver_manager.Error) as error:
        if is_producers(error):
            raise
        original = error.orig if isinstance(error, sqlalchemy.exc.DBAPIError) else error
        raise _translation(subject, _sqlstate(original), _message(original)) from error


@contextmanager
def translated_listening() -> Iterator[None]:
    """Raise our error in place of psycopg's while a session listens.

    :raises OnlineFeaturesError: from psycopg's exception.
    """
    try:
        yield
    except psycopg.Error as error:
        raise _translation("listening for changes", _sqlstate(error), _message(error)) from error


def translation(view: FeatureView, sqlstate: str | None, message: str) -> OnlineFeaturesError:
    """Make our error for a message of Postgres or libpq about a feature view."""
    return _translation(_subject(view), sqlstate, message)


def _subject(view: FeatureView) -> str:
    return f"feature view {view.name!r}, {view.source.description}"


def _translation(subject: str, sqlstate: str | None, message: str) -> OnlineFeaturesError:
    state = sqlstate or (LOGIN_REFUSED if REFUSAL.search(message) else CONNECTION_LOST)
    by_words = (decided for words, decided in ERROR_BY_WORDS.items() if words in message)
    error, cure = next(by_words, ERROR_BY_SQLSTATE[decided_by(state)])
    # The server's own sentence, without the statement that the driver and the server quote around it.
    sentence = re.search(r"(?:ERROR|FATAL):\s+(.+)", message)
    shown = sentence[1] if sentence else message.strip().partition("\n")[0]
    shown = CHARACTER.sub(lambda found: repr(bytes.fromhex(found[1].replace("0x", "")).decode()), shown)
    return error(f"{subject}: {shown} -> {cure}")


def _sqlstate(error: BaseException | None) -> str | None:
    if isinstance(error, adbc_driver_manager.Error):
        return error.sqlstate or _sqlstate_of_status(error)
    return getattr(error, "sqlstate", None) or getattr(error, "pgcode", None)


def _sqlstate_of_status(error: adbc_driver_manager.Error) -> str | None:
    # Failed logins are IO errors, too; their message distinguishes them.
    state = SQLSTATE_BY_STATUS.get(error.status_code, CONNECTION_LOST)
    return None if state == CONNECTION_LOST else state


def _message(error: BaseException | None) -> str:
    """Return the server's own message where the driver keeps it apart, else the driver's message."""
    if isinstance(error, adbc_driver_manager.Error):
        primary = dict(error.details).get(b"PG_DIAG_MESSAGE_PRIMARY")  # type: ignore[call-overload]
        return str(primary, "utf-8", "replace") if primary else str(error)
    diagnosis = getattr(error, "diag", None)
    return (diagnosis and diagnosis.message_primary) or str(error)
