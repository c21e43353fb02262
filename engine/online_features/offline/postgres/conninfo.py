"""The connection string of libpq, made from the user's URI."""

from __future__ import annotations

import re

import psycopg2
from psycopg.pq import PGconn
from psycopg2.extensions import make_dsn, parse_dsn

from online_features.errors import OfflineAccessError

# Seconds for each host to answer, login included. Without a limit, a port that belongs to another kind of server, which
# waits for us to say more, is waited for without an end.
CONNECT_TIMEOUT = "10"


def completed(uri: str) -> str:
    """Complete what a libpq URI leaves open, without repeating any of it in an error: it may hold a password anywhere.

    :raises OfflineAccessError: when libpq cannot read it.
    """
    try:
        given = parse_dsn(uri)
    except (psycopg2.ProgrammingError, UnicodeDecodeError):
        given = {"port": "unreadable"}
    # A host with an "@" is the end of a password that has one, too.
    if not re.fullmatch(r"[\d,]*", given.get("port", "")) or "@" in given.get("host", ""):
        raise OfflineAccessError(
            "the Postgres URI is not one that libpq reads -> write postgresql://user:password@host:port/database, with "
            "special characters in user and password percent-encoded"
        ) from None
    # Drivers take the encoding from the beginning of the session, whatever a transaction sets.
    completing = {"client_encoding": "UTF8", "connect_timeout": _connect_timeout(given)}
    conninfo: str = make_dsn(**{**given, **completing})
    return conninfo


def _connect_timeout(given: dict[str, str]) -> str:
    """Return what URI, service or environment say, else our default; psycopg does not look into the service."""
    # libpq puts them together when it begins to connect; here to a socket that does not exist.
    begun = PGconn.connect_start(make_dsn(**{**given, "host": "/", "hostaddr": ""}).encode())
    said = [option.val.decode() for option in begun.info if option.keyword == b"connect_timeout" and option.val]
    begun.finish()
    return said[0] if said else CONNECT_TIMEOUT
