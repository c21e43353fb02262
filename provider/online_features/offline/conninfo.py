"""What connections to Postgres are made with: what the user's URI says, completed."""

from __future__ import annotations

import re

import psycopg2
from psycopg2.extensions import make_dsn, parse_dsn

from online_features.errors import OfflineAccessError


def completed(uri: str) -> str:
    """Complete what a libpq URI leaves open, without repeating any of it in an error: it may hold a password anywhere.

    :raises OfflineAccessError: when it is no libpq URI.
    """
    try:
        given = parse_dsn(uri)
    except psycopg2.ProgrammingError:
        given = {"port": "unreadable"}
    if not re.fullmatch(r"[\d,]*", given.get("port", "")):
        raise OfflineAccessError(
            "the Postgres URI is not one that libpq reads -> write postgresql://user:password@host:port/database, with "
            "special characters in user and password percent-encoded"
        ) from None
    # Drivers take it from the beginning of the session, whatever a transaction sets.
    conninfo: str = make_dsn(**{**given, "client_encoding": "UTF8"})
    return conninfo
