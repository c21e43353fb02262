"""Every way in which Postgres and its drivers fail is decided on purpose, as transient or terminal."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

import adbc_driver_manager
import psycopg.errors
import psycopg2.errorcodes
import pytest
from adbc_driver_manager import AdbcStatusCode
from online_features import errors
from online_features.errors import OfflineAccessError, OfflineStoreUnavailableError, SourceError, TransientError
from online_features.offline.postgres.postgres_failures import SQLSTATE_BY_STATUS, translated, translation
from online_features.offline.postgres.sqlstates import ERROR_BY_SQLSTATE, decided_by
from psycopg2._psycopg import sqlstate_errors

from tests.support.views import VIEW

SQLSTATES = sorted(
    {code for name, code in vars(psycopg2.errorcodes).items() if name.isupper() and len(code) == 5}
    | set(sqlstate_errors)
    | {error.sqlstate for _, error in inspect.getmembers(psycopg.errors, inspect.isclass)
       if issubclass(error, psycopg.Error) and error.sqlstate}
)  # fmt: skip

# Decided one by one, and here a second time: all others need a change by hand.
TRANSIENT = {
    "08000", "08001", "08003", "08004", "08006", "08007", "08P01", "25P03", "25P04", "26000", "40000", "40001", "40003",
    "40P01", "42P05", "53000", "53100", "53200", "53300", "55000", "55006", "55P03", "57000", "57014", "57P01", "57P02",
    "57P03", "57P05", "58000", "58030", "72000", "F0000", "F0001", "HV000", "HV001", "HV00L", "HV00M", "HV00N", "HV014",
    "XX000",
}  # fmt: skip


def test_every_sqlstate_is_decided() -> None:
    assert len(SQLSTATES) >= 264
    assert not [state for state in SQLSTATES if decided_by(state) == ""]
    assert not [key for key in ERROR_BY_SQLSTATE if not any(state.startswith(key) for state in SQLSTATES)]
    assert decided_by("QQ000") == ""


def test_every_sqlstate_is_transient_or_terminal_as_told() -> None:
    assert {state for state in SQLSTATES if isinstance(translation(VIEW, state, "said"), TransientError)} == TRANSIENT


def test_every_error_names_the_view_what_was_said_and_a_cure() -> None:
    for state in SQLSTATES:
        subject, cure = str(translation(VIEW, state, "said")).split(": said -> ")
        assert "'view'" in subject
        assert len(cure) > 15, state


def raised(error: Exception) -> Exception:
    with pytest.raises(errors.OnlineFeaturesError) as caught, translated(VIEW):
        raise error
    return caught.value


def classes(module: object, base: type[Exception]) -> Iterator[type[Exception]]:
    for _, error in inspect.getmembers(module, inspect.isclass):
        if issubclass(error, base):
            yield error


@pytest.mark.parametrize("error", sorted(set(classes(psycopg2, psycopg2.Error)), key=str))
def test_an_error_of_psycopg2_without_a_sqlstate_is_of_the_connection(error: type[Exception]) -> None:
    assert type(raised(error("server closed the connection"))) is OfflineStoreUnavailableError
    assert type(raised(error("FATAL:  password authentication failed"))) is OfflineAccessError


TRANSIENT_STATUS = {"UNKNOWN", "INVALID_STATE", "INTERNAL", "IO", "CANCELLED", "TIMEOUT"}


def test_every_status_of_adbc_is_decided() -> None:
    assert set(SQLSTATE_BY_STATUS) == set(AdbcStatusCode) - {AdbcStatusCode.OK}
    for status in SQLSTATE_BY_STATUS:
        error = raised(adbc_driver_manager.Error("said", status_code=status))
        assert isinstance(error, TransientError) == (status.name in TRANSIENT_STATUS), status


def test_a_sqlstate_counts_more_than_a_status() -> None:
    error = adbc_driver_manager.OperationalError("said", status_code=AdbcStatusCode.IO, sqlstate="22012")
    assert type(raised(error)) is SourceError


def test_the_servers_own_sentence_is_told_in_its_language() -> None:
    details = [(b"PG_DIAG_MESSAGE_PRIMARY", "Spalte »x« existiert nicht".encode())]
    told = "NOT_FOUND: Failed to prepare query: FEHLER:  Spalte »x« existiert nicht\nQuery was: SELECT secret"
    error = adbc_driver_manager.ProgrammingError(
        told, status_code=AdbcStatusCode.NOT_FOUND, sqlstate="42703", details=details
    )
    assert ": Spalte »x« existiert nicht -> name an existing column" in str(raised(error))


# As servers, libpq and PgBouncer word them.
REFUSALS = [
    'FATAL:  password authentication failed for user "u"',
    "fe_sendauth: no password supplied",
    "FATAL:  empty password returned by client",
    'FATAL:  role "u" does not exist',
    'FATAL:  database "d" does not exist',
    'FATAL:  role "u" is not permitted to log in',
    'FATAL:  database "d" is not currently accepting connections',
    'FATAL:  permission denied for database "d"',
    'FATAL:  no pg_hba.conf entry for host "h", user "u", database "d", no encryption',
    'FATAL:  pg_hba.conf rejects connection for host "h", user "u", database "d", no encryption',
    'FATAL:  Peer authentication failed for user "u"',
    'FATAL:  certificate authentication failed for user "u"',
    'authentication method requirement "scram-sha-256" failed: server requested a cleartext password',
    "channel binding required, but SSL not in use",
    "server does not support SSL, but SSL was required",
    "SSL error: certificate verify failed",
    'server certificate for "a" does not match host name "b"',
    'root certificate file "/x" does not exist',
    'could not read certificate file "/x": no start line',
    'private key file "/x" has group or world access',
    "FATAL:  SASL authentication failed",
    "FATAL:  no such user: u",
    "FATAL:  no such database: d",
    "FATAL:  unsupported startup parameter: geqo",
    'FATAL:  unrecognized configuration parameter "x"',
    'FATAL:  invalid value for parameter "work_mem": "x"',
    'FATAL:  permission denied to set parameter "log_statement"',
    'FATAL:  parameter "port" cannot be changed without restarting the server',
]

PASSING = [
    "connection refused\n\tIs the server running on that host and accepting TCP/IP connections?",
    "could not translate host name",
    "timeout expired",
    "server closed the connection unexpectedly",
    "SSL SYSCALL error: EOF detected",
    "SSL error: unexpected eof while reading",
    "received invalid response to SSL negotiation",
    "FATAL:  the database system is starting up",
    "FATAL:  the database system is shutting down",
    "FATAL:  the database system is in recovery mode",
    "FATAL:  the database system is not accepting connections\nDETAIL:  Hot standby mode is disabled.",
    "FATAL:  sorry, too many clients already",
    'FATAL:  too many connections for role "u"',
    'FATAL:  too many connections for database "d"',
    "FATAL:  remaining connection slots are reserved for roles with the SUPERUSER attribute",
    "session is read-only",
    "server is not in hot standby mode",
    "FATAL:  query_wait_timeout",
    "FATAL:  server login has been failing, try again later",
    "FATAL:  pgbouncer cannot connect to server",
    "FATAL:  no more connections allowed (max_client_conn)",
    "FATAL:  canceling authentication due to timeout",
    "FATAL:  terminating connection due to administrator command",
]


@pytest.mark.parametrize("message", REFUSALS)
def test_a_refused_login_is_terminal(message: str) -> None:
    assert (
        type(translation(VIEW, None, f'connection to server at "h", port 5432 failed: {message}')) is OfflineAccessError
    )


@pytest.mark.parametrize("message", PASSING)
def test_what_passes_is_transient(message: str) -> None:
    told = f'connection to server at "h", port 5432 failed: {message}'
    assert type(translation(VIEW, None, told)) is OfflineStoreUnavailableError
