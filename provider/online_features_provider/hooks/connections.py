"""Airflow connections to the stores: found, checked, and named in errors by id and host, never with a secret."""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

from airflow.providers.common.compat.sdk import AirflowException, AirflowNotFoundException, BaseHook
from airflow.sdk import Connection
from airflow.sdk.exceptions import AirflowRuntimeError
from online_features.errors import (
    OfflineAccessError,
    OfflineStoreUnavailableError,
    OnlineAccessError,
    OnlineFeaturesError,
    OnlineStoreUnavailableError,
    QueryCanceledError,
)

Kind = Literal["Postgres", "Redis"]

PROBE_SECONDS = 2.0  # time-out of the check which protocol a server uses


@dataclass(frozen=True, kw_only=True)
class _Store:
    """One of the two stores.

    :param conn_types: types of Airflow connections to it.
    :param parameter: of operators, which names the connection.
    :param refused: the error when it refuses a login or a request.
    :param unavailable: the error while it cannot be reached.
    :param greeting: bytes that make it reply with one of ``replies``.
    """

    conn_types: tuple[str, ...]
    parameter: str
    port: int
    refused: type[OnlineFeaturesError]
    unavailable: type[OnlineFeaturesError]
    greeting: bytes
    replies: tuple[bytes, ...]


STORES: dict[Kind, _Store] = {
    "Postgres": _Store(
        conn_types=("postgres", "postgresql"),
        parameter="postgres_conn_id",
        port=5432,
        refused=OfflineAccessError,
        unavailable=OfflineStoreUnavailableError,
        greeting=b"\x00\x00\x00\x08\x04\xd2\x16\x2f",  # SSLRequest
        replies=(b"S", b"N"),
    ),
    "Redis": _Store(
        conn_types=("redis", "rediss"),
        parameter="redis_conn_id",
        port=6379,
        refused=OnlineAccessError,
        unavailable=OnlineStoreUnavailableError,
        greeting=b"PING\r\n",
        replies=(b"+PONG", b"-NOAUTH", b"-DENIED", b"-LOADING", b"-NOPERM", b"-MISCONF"),
    ),
}
OTHER: dict[Kind, Kind] = {"Postgres": "Redis", "Redis": "Postgres"}


def look_up(kind: Kind, conn_id: str, get: Callable[[], Connection]) -> Connection:
    """Return the connection, unless it is missing or of the other store's type.

    :raises OfflineAccessError: of Postgres, naming the connection and the cure.
    :raises OnlineAccessError: of Redis.
    """
    store = STORES[kind]
    try:
        connection = get()
    except AirflowNotFoundException as missing:
        raise store.refused(
            f"connection {conn_id!r} is not defined in Airflow -> add it with type {kind}, or name another one by "
            f"{store.parameter}="
        ) from missing
    if connection.conn_type in STORES[OTHER[kind]].conn_types:
        raise store.refused(
            f"connection {conn_id!r} has type {connection.conn_type}, and {store.parameter}= needs one of type {kind} "
            f"-> name another one by {store.parameter}="
        )
    return connection


def with_connection(error: OnlineFeaturesError, **conn_ids: str) -> OnlineFeaturesError:
    """Add id and host of the connection to an error about one; return any other error unchanged.

    :param conn_ids: ids by parameter, ``postgres_conn_id`` and ``redis_conn_id``.
    """
    for kind, store in STORES.items():
        concerns = isinstance(error, (store.refused, store.unavailable)) and not isinstance(error, QueryCanceledError)
        if concerns and store.parameter in conn_ids:
            return _with_connection(error, kind, conn_ids[store.parameter])
    return error


def _with_connection(error: OnlineFeaturesError, kind: Kind, conn_id: str) -> OnlineFeaturesError:
    message, store = str(error), STORES[kind]
    if f"connection {conn_id!r}" in message:
        return error
    try:
        connection = BaseHook.get_connection(conn_id)
    except (AirflowException, AirflowRuntimeError):
        return error  # the connection cannot be read; the error matters more
    host, port = connection.host or "localhost", connection.port or store.port
    place = f"connection {conn_id!r} ({kind} at {host}:{port})"
    other = OTHER[kind]
    if isinstance(error, store.unavailable) and _replies(STORES[other], host, port):
        return store.refused(
            f"{place}: the server there uses the protocol of {other} -> correct host and port, or name the "
            f"connection of your {kind} by {store.parameter}="
        )
    return type(error)(f"{place}: {message}")


def _replies(store: _Store, host: str, port: int) -> bool:
    """Return whether a server of that kind replies at the address."""
    with suppress(OSError), socket.create_connection((host, port), PROBE_SECONDS) as connection:
        connection.sendall(store.greeting)
        return connection.recv(16).startswith(store.replies)
    return False
