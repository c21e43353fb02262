"""Airflow connections in messages: by id and host, never with a secret; and those that lead to the other store."""

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

PROBE_SECONDS = 2.0  # for a server that has just been spoken to in vain


@dataclass(frozen=True, kw_only=True)
class _Side:
    """One of the two stores.

    :param conn_types: of Airflow connections that lead to it.
    :param unavailable: its error while it cannot be reached, as ``refused`` is its error when it refuses.
    :param greeting: what it answers, ``answers`` being how an answer may begin.
    """

    conn_types: tuple[str, ...]
    parameter: str
    port: int
    refused: type[OnlineFeaturesError]
    unavailable: type[OnlineFeaturesError]
    greeting: bytes
    answers: tuple[bytes, ...]


SIDES: dict[Kind, _Side] = {
    "Postgres": _Side(
        conn_types=("postgres", "postgresql"),
        parameter="postgres_conn_id",
        port=5432,
        refused=OfflineAccessError,
        unavailable=OfflineStoreUnavailableError,
        greeting=b"\x00\x00\x00\x08\x04\xd2\x16\x2f",  # SSLRequest
        answers=(b"S", b"N"),
    ),
    "Redis": _Side(
        conn_types=("redis", "rediss"),
        parameter="redis_conn_id",
        port=6379,
        refused=OnlineAccessError,
        unavailable=OnlineStoreUnavailableError,
        greeting=b"PING\r\n",
        answers=(b"+PONG", b"-NOAUTH", b"-DENIED", b"-LOADING", b"-NOPERM", b"-MISCONF"),
    ),
}
OTHER: dict[Kind, Kind] = {"Postgres": "Redis", "Redis": "Postgres"}


def checked(kind: Kind, conn_id: str, look_up: Callable[[], Connection]) -> Connection:
    """The connection, if there is one and it is not of the other kind.

    :raises OfflineAccessError: of Postgres, naming the connection and the cure.
    :raises OnlineAccessError: of Redis.
    """
    side = SIDES[kind]
    try:
        connection = look_up()
    except AirflowNotFoundException as missing:
        raise side.refused(
            f"connection {conn_id!r} is not defined in Airflow -> add it with type {kind}, or name another one by "
            f"{side.parameter}="
        ) from missing
    if connection.conn_type in SIDES[OTHER[kind]].conn_types:
        raise side.refused(
            f"connection {conn_id!r} has type {connection.conn_type}, and {side.parameter}= needs one of type {kind} "
            f"-> name another one by {side.parameter}="
        )
    return connection


def named(error: OnlineFeaturesError, **conn_ids: str) -> OnlineFeaturesError:
    """The error, with id and host of the connection that it is about; itself when it is about none.

    :param conn_ids: ids by parameter, ``postgres_conn_id`` and ``redis_conn_id``.
    """
    for kind, side in SIDES.items():
        is_about_it = isinstance(error, (side.refused, side.unavailable)) and not isinstance(error, QueryCanceledError)
        if is_about_it and side.parameter in conn_ids:
            return _named(error, kind, conn_ids[side.parameter])
    return error


def _named(error: OnlineFeaturesError, kind: Kind, conn_id: str) -> OnlineFeaturesError:
    message, side = str(error), SIDES[kind]
    if f"connection {conn_id!r}" in message:
        return error
    try:
        connection = BaseHook.get_connection(conn_id)
    except (AirflowException, AirflowRuntimeError):
        return error  # Airflow cannot tell: the error itself matters more
    host, port = connection.host or "localhost", connection.port or side.port
    place = f"connection {conn_id!r} ({kind} at {host}:{port})"
    other = OTHER[kind]
    if isinstance(error, side.unavailable) and _answers(SIDES[other], host, port):
        return side.refused(
            f"{place}: the server there speaks the protocol of {other} -> correct host and port, or name the "
            f"connection of your {kind} by {side.parameter}="
        )
    return type(error)(f"{place}: {message}")


def _answers(side: _Side, host: str, port: int) -> bool:
    """Whether a server of that side answers there."""
    with suppress(OSError), socket.create_connection((host, port), PROBE_SECONDS) as connection:
        connection.sendall(side.greeting)
        return connection.recv(16).startswith(side.answers)
    return False
