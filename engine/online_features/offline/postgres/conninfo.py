"""The connection string for libpq, made from the user's URI, and from credentials for each login if they expire."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeAlias

import psycopg2
from psycopg.pq import PGconn
from psycopg2.extensions import make_dsn, parse_dsn

from online_features.errors import OfflineAccessError, OfflineStoreUnavailableError, OnlineFeaturesError

# Seconds for each host to answer, login included. Without a limit, connecting to a server of another kind would hang:
# it would not answer before the client sends something that it understands.
CONNECT_TIMEOUT = "10"

Conninfo: TypeAlias = Callable[[], str]  # returns the connection string for one connection
Credentials: TypeAlias = Callable[[], tuple[str, str]]  # returns user and password


def conninfo_of(uri: str, credentials: Credentials | None) -> Conninfo:
    """Return a function that returns the connection string for one connection.

    :param credentials: returns user and password for it, in place of those of the URI.
    :raises OfflineAccessError: when libpq cannot read the URI, or it has a password beside the credentials.
    """
    conninfo = completed(uri)
    if credentials is None:
        return lambda: conninfo
    if "password" in parse_dsn(conninfo):
        raise OfflineAccessError("uri= has a password, and credentials= gives one -> leave it out of the URI")

    def with_credentials() -> str:
        user, password = _asked(credentials)
        made: str = make_dsn(conninfo, user=user, password=password)
        return made

    return with_credentials


def _asked(credentials: Credentials) -> tuple[str, str]:
    try:
        given: Any = credentials()
    except OnlineFeaturesError:
        raise
    except Exception as failure:
        raise OfflineStoreUnavailableError(
            f"there are no credentials for Postgres: {type(failure).__name__}: {failure} -> check that the service of "
            "the identity can be reached, and that it knows the identity"
        ) from failure
    match given:
        case [user, password] if _is_word(user) and _is_word(password):
            return user, password
        case [*words]:
            found = f"({', '.join(type(word).__name__ for word in words)})"  # not the words: they are secret
        case _:
            found = type(given).__name__
    raise OfflineAccessError(
        f"credentials= has returned {found} -> return (user, password), two texts in UTF-8 that are not empty"
    )


def _is_word(word: object) -> bool:
    """Return whether libpq can be given a word; an empty one would have it take another from its environment."""
    if not isinstance(word, str) or not word or "\0" in word:
        return False
    with suppress(UnicodeEncodeError):
        return bool(word.encode())
    return False


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
