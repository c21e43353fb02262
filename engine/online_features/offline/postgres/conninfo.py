"""The connection string for libpq, made from the user's URI."""

from __future__ import annotations

import re

import psycopg2
from psycopg.pq import PGconn
from psycopg2.extensions import make_dsn, parse_dsn

from online_features.errors import OfflineAccessError

# Seconds for each host to answer, login included. Without a limit, connecting to a server of another kind would hang:
# it would not answer before the client sends something that it understands.
CONNECT_TIMEOUT = "10"


def completed(uri: str) -> str:
    """Return the URI as a connection string, completed by the encoding and a time-out.

    :raises OfflineAccessError: when libpq cannot read the URI; the message repeats no part of it, because any may be
        the password.
    """
    try:
        given = parse_dsn(uri)
    except (psycopg2.ProgrammingError, UnicodeDecodeError):
        given = {"port": "unreadable"}
    # An "@" in the host means that the password contains one, too.
    if not re.fullmatch(r"[\d,]*", given.get("port", "")) or "@" in given.get("host", ""):
        raise OfflineAccessError(
            "the Postgres URI is not one that libpq reads -> write postgresql://user:password@host:port/database, with "
            "special characters in user and password percent-encoded"
        ) from None
    # Drivers read the encoding when the session begins, and ignore what a transaction sets.
    completing = {"client_encoding": "UTF8", "connect_timeout": _connect_timeout(given)}
    conninfo: str = make_dsn(**{**given, **completing})
    return conninfo


def _connect_timeout(given: dict[str, str]) -> str:
    """Return the time-out of URI, service or environment, else our default.

    It is passed explicitly, because psycopg ignores the service.
    """
    # libpq merges them when it begins to connect, which is here to a socket that does not exist.
    begun = PGconn.connect_start(make_dsn(**{**given, "host": "/", "hostaddr": ""}).encode())
    found = [option.val.decode() for option in begun.info if option.keyword == b"connect_timeout" and option.val]
    begun.finish()
    return found[0] if found else CONNECT_TIMEOUT
