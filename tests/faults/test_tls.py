"""Certificates, checked on both sides, through Airflow's connections and through URIs."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, aclosing, closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import psycopg2
import pytest
import redis
from online_features import AsyncOnlineStore, FeatureView, OfflineStore, OnlineStore, materialize
from online_features.embedded import (
    HOST,
    _give_to_server_user,
    embedded_postgres,
    embedded_redis,
    reserved_port,
)
from online_features.errors import (
    OfflineAccessError,
    OnlineAccessError,
    OnlineFeaturesError,
    OnlineStoreUnavailableError,
)
from online_features_provider.hooks.offline import OfflineStoreHook
from online_features_provider.hooks.online import OnlineStoreHook
from sqlalchemy.engine import URL, make_url

from demo.workplace import workplace
from tests.support.servers import programs
from tests.support.servers.programs import postgres_programs, redis_program
from tests.support.servers.tls import NAME, Authority, Identity, tls_proxy

pytestmark = pytest.mark.faults

# Those of the packages speak no TLS; Debian's do.
SERVERS_SPEAK_TLS = programs.POSTGRES is not None

MakeView = Callable[..., FeatureView]


@dataclass(frozen=True, kw_only=True)
class Servers:
    """By whether they demand a client's certificate, URLs without a word of TLS."""

    postgres: dict[bool, URL]
    redis: dict[bool, URL]


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with workplace("tls") as folder:
        yield folder


@pytest.fixture(scope="module")
def authority(folder: Path) -> Authority:
    return Authority(folder, "authority")


@pytest.fixture(scope="module")
def client_identity(authority: Authority) -> Identity:
    return authority.issue("client")


@pytest.fixture(scope="module")
def servers(folder: Path, authority: Authority, postgres_uri: str, redis_url: str) -> Iterator[Servers]:
    identity = authority.issue(NAME)
    with ExitStack() as stack:
        if SERVERS_SPEAK_TLS:
            yield stack.enter_context(that_speak_tls(folder, identity))
        else:
            yield stack.enter_context(behind_proxies(identity, make_url(postgres_uri), make_url(redis_url)))


@contextmanager
def behind_proxies(identity: Identity, postgres: URL, online: URL) -> Iterator[Servers]:
    with ExitStack() as stack:

        def through(url: URL, demands: bool) -> URL:
            context = identity.context(demands_certificate=demands)
            assert url.port
            return url.set(port=stack.enter_context(tls_proxy(url.port, context, is_of_postgres=url is postgres)))

        yield Servers(
            postgres={demands: through(postgres, demands) for demands in (False, True)},
            redis={demands: through(online, demands) for demands in (False, True)},
        )


@contextmanager
def that_speak_tls(folder: Path, identity: Identity) -> Iterator[Servers]:
    _give_to_server_user(identity.key)
    with ExitStack() as stack:
        postgres = make_url(stack.enter_context(embedded_postgres(folder, postgres_programs())))
        with closing(psycopg2.connect(postgres.render_as_string(hide_password=False))) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(f"CREATE ROLE certified SUPERUSER LOGIN PASSWORD '{postgres.password}'")
                for setting, file in (
                    ("ssl_cert_file", identity.certificate),
                    ("ssl_key_file", identity.key),
                    ("ssl_ca_file", identity.authority),
                ):
                    cursor.execute(f"ALTER SYSTEM SET {setting} = '{file}'")
                cursor.execute("ALTER SYSTEM SET ssl = on")
                rules = folder / "postgres" / "pg_hba.conf"
                rules.write_text("hostssl all certified all scram-sha-256 clientcert=verify-ca\n" + rules.read_text())
                cursor.execute("SELECT pg_reload_conf()")
        yield Servers(
            postgres={False: postgres, True: postgres.set(username="certified")},
            redis={
                demands: stack.enter_context(redis_that_speaks_tls(folder, identity, demands))
                for demands in (False, True)
            },
        )


@contextmanager
def redis_that_speaks_tls(folder: Path, identity: Identity, demands_certificate: bool) -> Iterator[URL]:
    with embedded_redis(folder, redis_program()) as url, redis.Redis.from_url(url) as client, reserved_port() as port:
        client.config_set(
            "tls-cert-file", str(identity.certificate), "tls-key-file", str(identity.key),
            "tls-ca-cert-file", str(identity.authority), "tls-auth-clients", "yes" if demands_certificate else "no",
            "tls-port", port,
        )  # fmt: skip
        yield make_url(url).set(port=port)


class Clients:
    """Stores that connect in one of the ways that users have."""

    def __init__(self, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self._way = way
        self._monkeypatch = monkeypatch

    def offline(self, url: URL, *, host: str = NAME, authority: Path, own: Identity | None = None) -> OfflineStore:
        """The offline store, with the certificate of the server and its name checked."""
        options = {"sslmode": "verify-full", "sslrootcert": str(authority), "connect_timeout": "10"}
        if own is not None:
            options |= {"sslcert": str(own.certificate), "sslkey": str(own.key)}
        if self._way == "uri":
            return OfflineStore(f"{url.set(host=host).render_as_string(hide_password=False)}?{urlencode(options)}")
        self._connect("offline_store", "postgres", url, host, {"schema": url.database}, options)
        return OfflineStoreHook().get_store()

    def online(self, url: URL, *, host: str = NAME, authority: Path, own: Identity | None = None) -> OnlineStore:
        """Likewise, the online store."""
        options = self._redis_options(authority, own)
        if self._way == "uri":
            return OnlineStore.from_url(f"rediss://{host}:{url.port}/0?{urlencode(options)}")
        self._connect("online_store", "redis", url, host, {}, {"ssl": True, **options})
        return OnlineStoreHook().get_store()

    def _redis_options(self, authority: Path, own: Identity | None) -> dict[str, Any]:
        certificate = {} if own is None else {"ssl_certfile": str(own.certificate), "ssl_keyfile": str(own.key)}
        return {"ssl_ca_certs": str(authority), **certificate}

    def _connect(self, name: str, kind: str, url: URL, host: str, more: dict[str, Any], extra: dict[str, Any]) -> None:
        login = {"login": url.username, "password": url.password}
        connection = {"conn_type": kind, "host": host, "port": url.port, **login, **more, "extra": extra}
        self._monkeypatch.setenv(f"AIRFLOW_CONN_{name.upper()}", json.dumps(connection))


@pytest.fixture(params=["uri", "connection"])
def clients(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Clients:
    return Clients(request.param, monkeypatch)


@pytest.fixture
def view(make_view: MakeView) -> FeatureView:
    query = "SELECT 'a' AS id, now() AS ts, 1 AS x"
    return make_view(source={"query": query})


@pytest.mark.parametrize("demands", [False, True])
def test_rows_go_from_store_to_store(
    servers: Servers,
    clients: Clients,
    authority: Authority,
    client_identity: Identity,
    view: FeatureView,
    demands: bool,
) -> None:
    trusted: dict[str, Any] = {"authority": authority.file, "own": client_identity if demands else None}
    offline = clients.offline(servers.postgres[demands], **trusted)
    online = clients.online(servers.redis[demands], **trusted)
    assert materialize(view, offline, online).rows_written == 1
    assert online.get_online_features(view, [{"id": "a"}])[0].values == {"x": 1}
    assert asyncio.run(heard(offline)) == frozenset()
    online._client.close()


async def heard(offline: OfflineStore) -> frozenset[str]:
    async with aclosing(offline._changed_tables()) as changes:
        return await anext(changes)


@pytest.mark.parametrize("wrong, pg_says, redis_says", [
    ("name", "does not match host name", "certificate is not valid for"),
    ("authority", "certificate verify failed", "certificate verify failed"),
    ("client", "certificate", ""),
])  # fmt: skip
def test_who_is_not_who_they_should_be_is_refused(
    folder: Path, servers: Servers, clients: Clients, authority: Authority, view: FeatureView,
    wrong: str, pg_says: str, redis_says: str,
) -> None:  # fmt: skip
    trusted: dict[str, Any] = {
        "host": HOST if wrong == "name" else NAME,
        "authority": Authority(folder, "stranger").file if wrong == "authority" else authority.file,
    }
    offline = clients.offline(servers.postgres[wrong == "client"], **trusted)
    for act in (lambda: offline.describe(view), lambda: asyncio.run(heard(offline))):
        with pytest.raises(
            OfflineAccessError, match=f"{pg_says}.* -> check user and password, database and TLS settings"
        ):
            act()
    online = clients.online(servers.redis[wrong == "client"], **trusted)
    # Redis closes at once when it misses a client's certificate, and may take back what it said of it.
    expected = OnlineAccessError if redis_says else (OnlineAccessError, OnlineStoreUnavailableError)
    with pytest.raises(expected, match=f"{redis_says}.* -> check") as raised:
        online.freshness(view)
    if isinstance(raised.value, OnlineAccessError):
        assert str(raised.value).endswith(
            "-> check host name, certificates and their authority in the Redis connection"
        )


def test_a_file_that_is_not_there_is_named(servers: Servers, clients: Clients, view: FeatureView) -> None:
    missing = Path("/nowhere/authority.pem")
    with pytest.raises(
        OfflineAccessError, match="/nowhere/authority.pem.* -> check user and password, database and TLS settings"
    ):
        clients.offline(servers.postgres[False], authority=missing).describe(view)
    with pytest.raises(OnlineAccessError, match="-> check host name, certificates"):
        clients.online(servers.redis[False], authority=missing).freshness(view)


def test_a_postgres_without_tls_gets_no_password(
    clients: Clients, view: FeatureView, authority: Authority, postgres_uri: str
) -> None:
    with pytest.raises(
        OfflineAccessError,
        match="does not support SSL, but SSL was required -> check user and password, database and TLS settings",
    ):
        clients.offline(make_url(postgres_uri), authority=authority.file).describe(view)


EXTRAS: dict[str, Callable[[str], dict[str, Any]]] = {
    "server": lambda _: {},
    "sentinels": lambda address: {"sentinels": address, "sentinel_master": "main"},
    "cluster": lambda _: {"cluster": True},
}


class Silent:
    """Takes connections and says nothing, as a Redis in the clear does to a client that speaks TLS.

    :ivar guests: how many connections there have been.
    """

    def __init__(self, listening: socket.socket) -> None:
        self._listening = listening
        self.port = listening.getsockname()[1]

    def guests(self) -> int:
        """Count the connections, all of which wait."""
        self._listening.setblocking(False)
        count = 0
        with suppress(BlockingIOError):
            while True:
                self._listening.accept()[0].close()
                count += 1
        return count


@pytest.fixture
def silent() -> Iterator[Silent]:
    with socket.create_server((HOST, 0), backlog=1000) as listening:
        yield Silent(listening)


def hook(monkeypatch: pytest.MonkeyPatch, kind: str, port: int, **extra: Any) -> OnlineStoreHook:
    """A hook for a connection to what its extra says is a server, Sentinels or a cluster."""
    extra = {**EXTRAS[kind](f"{HOST}:{port}"), "socket_connect_timeout": 1, "socket_timeout": 1, **extra}
    connection = {"conn_type": "redis", "host": HOST, "port": port, "extra": extra}
    monkeypatch.setenv("AIRFLOW_CONN_ONLINE_STORE", json.dumps(connection))
    return OnlineStoreHook()


def refusals(hook: OnlineStoreHook, view: FeatureView) -> list[str]:
    """What is said by the test of a connection, and by the stores for threads and for asyncio."""
    with pytest.raises(OnlineFeaturesError) as read:
        hook.get_store().freshness(view)

    async def awaited() -> None:
        async with await hook.aget_store() as store:
            await store.freshness(view)

    with pytest.raises(OnlineFeaturesError) as heard:
        asyncio.run(awaited())
    return [hook.test_connection()[1], str(read.value), str(heard.value)]


@pytest.mark.parametrize("kind", EXTRAS)
def test_a_client_in_the_clear_is_told_that_the_server_may_speak_tls(
    servers: Servers, view: FeatureView, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    port = servers.redis[False].port
    assert port
    for said in refusals(hook(monkeypatch, kind, port), view):
        assert "if it uses TLS on this port, set ssl" in said, said


@pytest.mark.parametrize("kind", EXTRAS)
def test_a_client_of_tls_is_told_that_the_server_may_not_speak_it(
    silent: Silent, view: FeatureView, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    for said in refusals(hook(monkeypatch, kind, silent.port, ssl=True), view):
        assert "if it does not use TLS on this port, leave ssl (rediss://) out" in said, said
    # What times out is tried again by a run, not by its client: ten times five seconds are a minute.
    assert silent.guests() <= 3 * 4


@pytest.mark.parametrize("store", [OnlineStore, AsyncOnlineStore])
def test_a_url_in_the_clear_and_one_of_tls_are_told_so_too(
    servers: Servers, silent: Silent, view: FeatureView, store: Any
) -> None:
    async def freshness(url: str) -> Any:
        online = store.from_url(url)
        return await online.freshness(view) if store is AsyncOnlineStore else online.freshness(view)

    with pytest.raises(OnlineFeaturesError, match="if it uses TLS on this port, set ssl"):
        asyncio.run(freshness(f"redis://{HOST}:{servers.redis[False].port}"))
    with pytest.raises(OnlineFeaturesError, match="if it does not use TLS on this port, leave ssl"):
        asyncio.run(freshness(f"rediss://{HOST}:{silent.port}?socket_connect_timeout=1&socket_timeout=1"))
    assert silent.guests() == 1


@pytest.mark.parametrize("answer, url, message", [
    (b"-ERR Protocol error\r\n", "rediss", "the server does not use TLS on this port: leave ssl"),
    (bytes([21, 3, 1, 0, 2, 2, 70]), "redis", "the server uses TLS on this port: set ssl"),
])  # fmt: skip
def test_an_answer_of_the_other_kind_is_terminal_at_once(
    view: FeatureView, answer: bytes, url: str, message: str
) -> None:
    with socket.create_server((HOST, 0)) as listening:

        def answering() -> None:
            with suppress(OSError):  # when nobody listens any more
                while True:
                    guest, _ = listening.accept()
                    with guest, suppress(ConnectionResetError):
                        guest.recv(65536)
                        guest.sendall(answer)
                        guest.shutdown(socket.SHUT_WR)
                        while guest.recv(65536):
                            pass

        thread = threading.Thread(target=answering)
        thread.start()
        with pytest.raises(OnlineAccessError, match=message):
            OnlineStore.from_url(f"{url}://{HOST}:{listening.getsockname()[1]}").freshness(view)
        listening.shutdown(socket.SHUT_RDWR)
        thread.join()
