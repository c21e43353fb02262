"""Reads many replies from a connection of redis-py at once."""

from __future__ import annotations

import sys
from functools import cache
from itertools import islice
from types import NoneType
from typing import Any

import hiredis
import redis

PLAIN = {bytes, str, int, list, NoneType}


def read_replies(connection: Any, count: int) -> list[Any]:
    """Return the next replies, errors among them.

    ``read_response`` takes almost as long for a reply as Redis takes for a ``SET``. So it reads only the first of the
    replies that have arrived; the others are taken from the parser.

    :raises redis.ConnectionError: when the connection is lost, or the server is loading its data.
    """
    replies: list[Any] = []
    while len(replies) < count:
        try:
            first = connection.read_response()
        except redis.ResponseError as error:
            first = error
        replies += _with_arrived(first, connection, count - len(replies))
    return replies


async def read_replies_async(connection: Any, count: int) -> list[Any]:
    """Return the next replies of a connection for asyncio; see :func:`read_replies`."""
    replies: list[Any] = []
    while len(replies) < count:
        try:
            first = await connection.read_response()
        except redis.ResponseError as error:
            first = error
        replies += _with_arrived(first, connection, count - len(replies))
    return replies


def _with_arrived(first: Any, connection: Any, most: int) -> list[Any]:
    """Return a reply, and those after it that have arrived.

    :raises redis.ConnectionError: when it is one of the replies.
    """
    arrived = [first, *_parsed(connection, most - 1)]
    return arrived if {*map(type, arrived)} <= PLAIN else _checked(arrived)


def _parsed(connection: Any, most: int) -> list[Any]:
    """Return replies that have arrived; none if the connection has another parser than that of hiredis."""
    # These names are private: redis-py has no other way to many replies.
    parser: Any = getattr(connection, "_parser", None)
    reader = getattr(parser, "_reader", None)
    if reader is None:
        return []
    return [*islice(iter(reader.gets, _nothing_left(parser.__class__)), most)]


@cache
def _nothing_left(parser: type) -> object:
    """Return what a parser's reader returns when no whole reply is left; the module of its base class defines it."""
    modules = (sys.modules[kind.__module__] for kind in parser.__mro__)
    return next(module.NOT_ENOUGH_DATA for module in modules if hasattr(module, "NOT_ENOUGH_DATA"))


def _checked(arrived: list[Any]) -> list[Any]:
    """Return the replies without what was sent unasked.

    :raises redis.ConnectionError: when it is one of the replies.
    """
    for reply in arrived:
        if isinstance(reply, redis.ConnectionError):
            raise reply
    return [reply for reply in arrived if not isinstance(reply, hiredis.PushNotification)]
