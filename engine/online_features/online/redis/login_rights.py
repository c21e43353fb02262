"""What a user of Redis may do, found out without doing it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import redis

from online_features.online.redis.clients import PURPOSE
from online_features.online.redis.redis_failures import is_refused
from online_features.resp.replies import text

Words = Sequence[str]

OF_COMMAND = "to run"  # in the message that refuses a command; another one refuses a key


def may_user(client: redis.Redis, user: str, commands: Sequence[Words]) -> list[str] | None:
    """Ask whether a user may send commands, by ``ACL DRYRUN`` of Redis 7.

    :returns: why Redis would refuse each of them, empty if it would not; ``None`` where it cannot be asked.
    """
    with _connection(client) as connection:
        replies = _exchange(connection, [("ACL", "DRYRUN", user, *words) for words in commands])
    if any(isinstance(reply, redis.ResponseError) for reply in replies):
        return None  # an older Redis, a user that is unknown, or no right to ask
    return ["" if text(reply) == "OK" else text(reply) for reply in replies]


def may_login(client: redis.Redis, commands: Sequence[Words]) -> list[str] | None:
    """Ask whether the login may send commands, by a transaction that never ends: Redis refuses what it may not queue.

    :returns: as :func:`may_user` does.
    """
    with _connection(client) as connection:
        # Alone: without a transaction, Redis would carry the commands out.
        (begun,) = _exchange(connection, [("MULTI",)])
        if isinstance(begun, redis.ResponseError):
            return None
        replies = _exchange(connection, commands)
    # In a cluster, a key may be another node's, which Redis says only if the user may use it.
    return [str(reply) if isinstance(reply, redis.ResponseError) and is_refused(reply) else "" for reply in replies]


def refuses_command(refusal: str) -> bool:
    """Return whether a refusal is of the command; else it is of a key."""
    return OF_COMMAND in refusal or "unknown" in refusal


@contextmanager
def _connection(client: redis.Redis) -> Iterator[Any]:
    """Yield a connection, and close it, which discards a transaction."""
    pool = client.connection_pool
    connection: Any = pool.get_connection(*PURPOSE)
    try:
        yield connection
    finally:
        connection.disconnect()
        pool.release(connection)


def _exchange(connection: Any, commands: Sequence[Words]) -> list[Any]:
    """Return the replies to commands that are sent together, errors among them."""
    connection.send_packed_command(connection.pack_commands(commands))
    return [_reply(connection) for _ in commands]


def _reply(connection: Any) -> Any:
    try:
        return connection.read_response()
    except redis.ResponseError as refusal:
        return refusal
