"""Reads many replies from a connection of redis-py at once."""

from __future__ import annotations

from itertools import islice
from types import NoneType
from typing import Any

import hiredis
import redis
from redis._parsers.hiredis import NOT_ENOUGH_DATA

PLAIN = {bytes, str, int, list, NoneType}
# A message that a server sends unasked (RESP3); hiredis before 3.2 does not tell it from a reply.
PUSHED = getattr(hiredis, "PushNotification", ())


def read_replies(connection: Any, count: int) -> list[Any]:
    """Return the next replies, errors among them.

    ``read_response`` takes as long for a reply as Redis for a ``SET``. So it reads the first reply only, and the others
    that have arrived with it are taken from the parser.

    :raises redis.ConnectionError: when the connection is lost, or the server is loading its data.
    """
    replies: list[Any] = []
    while len(replies) < count:
        try:
            replies.append(connection.read_response())
        except redis.ResponseError as error:
            replies.append(error)
        replies += _arrived(connection, count - len(replies))
    return replies


def _arrived(connection: Any, most: int) -> list[Any]:
    """Return replies that have arrived; none where redis-py has another parser than that of hiredis."""
    parser: Any = getattr(connection, "_parser", None)  # private: redis-py has no other way to many replies
    reader = getattr(parser, "_reader", None)
    if reader is None:
        return []
    replies = [*islice(iter(reader.gets, NOT_ENOUGH_DATA), most)]
    if {*map(type, replies)} <= PLAIN:
        return replies
    for reply in replies:
        if isinstance(reply, redis.ConnectionError):
            raise reply
        if isinstance(reply, PUSHED):
            parser.handle_push_response(reply)
    return [reply for reply in replies if not isinstance(reply, PUSHED)]
