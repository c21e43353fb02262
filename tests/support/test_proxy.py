"""The tests' proxy does what it is told to: what other tests conclude from it rests on that."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing

import psycopg2
import pytest
import redis
from online_features.embedded import HOST
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.conftest import Database
from tests.support.proxy import Fault, Proxy, proxied

QUESTION = b"*2\r\n$4\r\nECHO\r\n$5\r\nhello\r\n"
ANSWER = b"$5\r\nhello\r\n"
QUIT = b"*1\r\n$4\r\nQUIT\r\n"
OK = b"+OK\r\n"


@pytest.fixture
def proxy(client: redis.Redis) -> Iterator[Proxy]:
    kwargs = client.connection_pool.connection_kwargs
    with proxied(kwargs["host"], kwargs["port"]) as proxy:
        yield proxy


def answered(proxy: Proxy, question: bytes, seconds: float = 10.0) -> bytes:
    """All that comes back before the proxy ends the connection."""
    received = b""
    with socket.create_connection((HOST, proxy.port), timeout=seconds) as connection:
        connection.sendall(question)
        while chunk := connection.recv(1024):
            received += chunk
    return received


def test_what_is_armed_befalls_one_connection_after_the_other(proxy: Proxy) -> None:
    proxy.arm(Fault(after_server=4), None, Fault(after_client=len(QUESTION) - 1))
    assert answered(proxy, QUESTION) == ANSWER[:4]
    assert answered(proxy, QUESTION + QUIT) == ANSWER + OK
    assert answered(proxy, QUESTION) == b""
    passed = [(traffic.from_client, traffic.from_server) for traffic in proxy.connections]
    assert passed == [(len(QUESTION), 4), (len(QUESTION + QUIT), len(ANSWER + OK)), (len(QUESTION) - 1, 0)]


def test_what_is_usual_befalls_all_others_until_it_is_disarmed(proxy: Proxy) -> None:
    proxy.usual = Fault(after_server=2)
    assert [answered(proxy, QUESTION) for _ in range(2)] == [ANSWER[:2]] * 2
    proxy.disarm()
    proxy.arm(Fault(after_server=len(ANSWER)))
    assert answered(proxy, QUESTION) == ANSWER


def test_a_swallowed_reply_is_to_what_was_done(proxy: Proxy, project: str, client: redis.Redis) -> None:
    incr = b"*2\r\n$4\r\nINCR\r\n$%d\r\n%b\r\n" % (len(project), project.encode())
    proxy.arm(Fault(after_server=4, swallows=True))
    with socket.create_connection((HOST, proxy.port), timeout=10) as connection:
        connection.sendall(incr)
        assert connection.recv(1024) == b":1\r\n"
        time.sleep(0.1)  # for a proxy that does not wait for what is to be swallowed
        connection.sendall(incr * 2)
        assert connection.recv(1024) == b""
    assert client.get(project) == "3"


def test_what_the_client_says_may_begin_the_count(proxy: Proxy) -> None:
    proxy.arm(Fault(after_server=4, since=b"QUIT"))
    with socket.create_connection((HOST, proxy.port), timeout=10) as connection:
        for _ in range(2):
            connection.sendall(QUESTION)
            assert connection.recv(1024) == ANSWER
        for word in (QUIT[:10], QUIT[10:]):  # not in one piece either
            connection.sendall(word)
            time.sleep(0.1)
        assert connection.recv(1024) == OK[:4]
        assert connection.recv(1024) == b""
    assert proxy.connections[0].has_struck


def test_a_reset_is_no_end_of_file(proxy: Proxy) -> None:
    proxy.arm(Fault(after_client=1, ends="reset"))
    with pytest.raises(ConnectionResetError):
        answered(proxy, QUESTION)


def test_what_stalls_ends_by_the_clients_time_out_only(proxy: Proxy) -> None:
    proxy.arm(Fault(after_server=1, ends="stall"))
    with pytest.raises(TimeoutError):
        answered(proxy, QUESTION, seconds=0.2)
    assert answered(proxy, QUIT) == OK


def test_what_is_delayed_comes(proxy: Proxy) -> None:
    proxy.arm(Fault(delay=0.1))
    began = time.monotonic()
    assert answered(proxy, QUIT) == OK
    assert time.monotonic() - began >= 0.2


def test_connections_are_refused_for_a_while_and_open_ones_stay(proxy: Proxy) -> None:
    with redis.Redis(host=HOST, port=proxy.port, retry=Retry(NoBackoff(), 0), single_connection_client=True) as client:
        with proxy.refusing():
            with pytest.raises(ConnectionRefusedError):
                answered(proxy, QUESTION)
            assert client.ping()
            proxy.cut()
            with pytest.raises(redis.ConnectionError):
                client.ping()
        assert client.ping()


def test_a_server_that_is_gone_resets_its_clients(proxy: Proxy) -> None:
    with socket.socket() as nobody:
        nobody.bind((HOST, 0))
        proxy.server = nobody.getsockname()
        with pytest.raises(ConnectionResetError):
            answered(proxy, QUESTION)


def test_postgres_is_spoken_to_through_it(database: Database) -> None:
    threads = set(threading.enumerate())
    with closing(psycopg2.connect(database.uri)) as direct:
        parameters = {**direct.get_dsn_parameters(), "password": direct.info.password}
    with proxied(parameters["host"], int(parameters["port"])) as proxy:
        through = parameters | {"port": proxy.port}
        with closing(psycopg2.connect(**through)) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT repeat('x', 1000000)")
            assert cursor.fetchone() == ("x" * 1_000_000,)
        (traffic,) = proxy.connections
        assert traffic.from_server > 1_000_000
        proxy.arm(Fault(after_server=500_000))
        with (
            closing(psycopg2.connect(**through)) as connection,
            connection.cursor() as cursor,
            pytest.raises(psycopg2.OperationalError),
        ):
            cursor.execute("SELECT repeat('x', 1000000)")
    assert set(threading.enumerate()) <= threads  # one of an earlier test may have ended
