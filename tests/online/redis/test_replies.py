"""Replies that are read many at a time are those that redis-py reads one by one, whatever the connection."""

from __future__ import annotations

import ssl
import time
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import chain
from typing import Any

import pytest
import redis
from online_features.online.redis._replies import read_replies
from online_features.online.redis._single_server import PURPOSE
from redis._parsers import _RESP2Parser, _RESP3Parser
from redis.connection import parse_url

from demo.workplace import workplace
from tests.support.servers.tls import NAME, Authority, tls_proxy

pytestmark = [pytest.mark.oldest, pytest.mark.servers]

HALF = 50
COUNT = 30_000  # more replies than a read of the socket returns


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture(params=["2", "3"])
def protocol(request: pytest.FixtureRequest) -> int:
    return int(request.param)


def connection_of(stack: ExitStack, **settings: Any) -> Any:
    client = stack.enter_context(redis.Redis(**settings))
    connection = client.connection_pool.get_connection(*PURPOSE)
    stack.callback(client.connection_pool.release, connection)
    return connection


def check(connection: Any, key: str, *, decoded: bool = False) -> None:
    ok = "OK" if decoded else b"OK"
    connection.send_packed_command(connection.pack_command("SET", key, 1, "NX") * COUNT)
    assert read_replies(connection, COUNT) == [ok, *[None] * (COUNT - 1)]
    for words in (("SET", key, 1), ("LPUSH", key, 1), ("SET", key, 1, "NX"), ("STRLEN", key)):
        connection.send_command(*words)
    first, error, *others = read_replies(connection, 4)
    assert isinstance(error, redis.ResponseError)
    assert "WRONGTYPE" in str(error)
    assert (first, others) == (ok, [None, 1])
    connection.send_command("DEL", key)
    assert connection.read_response() == 1


@pytest.mark.parametrize("decoded", [False, True])
def test_replies_are_read_at_once(redis_url: str, project: str, stack: ExitStack, protocol: int, decoded: bool) -> None:
    settings = {**parse_url(redis_url), "protocol": protocol, "decode_responses": decoded}
    check(connection_of(stack, **settings), project, decoded=decoded)


def test_replies_are_read_one_by_one_without_the_parser_of_hiredis(
    redis_url: str, project: str, stack: ExitStack, protocol: int
) -> None:
    pool = redis.ConnectionPool(
        **parse_url(redis_url), protocol=protocol, parser_class=_RESP2Parser if protocol == 2 else _RESP3Parser
    )
    check(connection_of(stack, connection_pool=pool), project)


def test_replies_are_read_at_once_through_tls(redis_url: str, project: str, stack: ExitStack, protocol: int) -> None:
    folder = stack.enter_context(workplace("tls_of_replies"))
    identity = Authority(folder, "ours").issue(NAME)
    context: ssl.SSLContext = identity.context(demands_certificate=False)
    port = stack.enter_context(tls_proxy(parse_url(redis_url)["port"], context, is_of_postgres=False))
    settings = {"host": NAME, "port": port, "ssl": True, "ssl_ca_certs": str(identity.authority), "protocol": protocol}
    check(connection_of(stack, **settings), project)


def test_what_a_server_sends_unasked_is_not_a_reply(redis_url: str, project: str, stack: ExitStack) -> None:
    connection = connection_of(stack, **parse_url(redis_url), protocol=3)
    connection.send_command("CLIENT", "TRACKING", "ON", "BCAST", "PREFIX", project)
    connection.read_response()
    for half in ("a", "b"):
        packets = [connection.pack_command("SET", f"{project}{half}{i}", i) for i in range(HALF)]
        connection.send_packed_command([b"".join(chain.from_iterable(packets))])
        time.sleep(0.05)  # so that it is sent between the replies
    assert read_replies(connection, 2 * HALF) == [b"OK"] * (2 * HALF)


def test_a_lost_connection_is_raised(redis_url: str, project: str, stack: ExitStack) -> None:
    connection = connection_of(stack, **parse_url(redis_url))
    connection.send_packed_command(
        [*connection.pack_command("SET", project, 1, "NX") * 3, *connection.pack_command("QUIT")]
    )
    with pytest.raises(redis.ConnectionError):
        read_replies(connection, 5)
