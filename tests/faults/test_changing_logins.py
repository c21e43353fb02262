"""Passwords that change while runs, pushes and readers go on: each login asks for one, as with tokens that expire."""

from __future__ import annotations

import asyncio
import pickle
import re
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import redis
from online_features import AsyncOnlineStore, FeatureView, OfflineStore, OnlineStore, Progress, materialize
from online_features.errors import OnlineAccessError, OnlineStoreUnavailableError
from psycopg2.extensions import make_dsn, parse_dsn
from redis.credentials import CredentialProvider

from demo.workplace import workplace
from tests.support.scene import (  # noqa: F401
    Scene,
    check_counts,
    check_online,
    no_thread_and_no_session_is_left,
    scene_of_rows,
    small_packets_and_pauses,
)
from tests.support.servers.changing_login import ChangingLogin
from tests.support.servers.redis_servers import STEADY, Server, cluster, running

pytestmark = pytest.mark.faults

RETRY_FOR = timedelta(seconds=30)
BATCH_ROWS, BATCHES = 50, 6
CHANGES = 4  # of the password, that something outlives

Connect = Callable[[], redis.Redis]


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with workplace("changing_logins") as folder:
        yield folder


@pytest.fixture(scope="module")
def one_server(folder: Path) -> Iterator[Server]:
    with running(folder / "one", password="of the administrator") as server:
        yield server


@pytest.fixture
def server(one_server: Server) -> Server:
    one_server.client.flushall()
    return one_server


@pytest.fixture
def login(server: Server) -> ChangingLogin:
    return ChangingLogin([server.client])


@pytest.fixture
def view(scene: Scene) -> FeatureView:
    return scene.view("logins", "msgpack")


@pytest.fixture
def online(server: Server, login: ChangingLogin) -> Iterator[OnlineStore]:
    store = OnlineStore.from_url(server.url, credential_provider=login)
    yield store
    store._client.close()


def run(scene: Scene, view: FeatureView, online: OnlineStore, do: Callable[[], object], **options: Any) -> Any:
    """A full run that does something after each of its batches."""

    def on_progress(_: Progress) -> None:
        do()

    return materialize(
        view, OfflineStore(scene.database.uri), online,
        **{"full": True, "batch_rows": BATCH_ROWS, "retry_for": RETRY_FOR, "on_progress": on_progress, **options},
    )  # fmt: skip


def rows(online: OnlineStore, view: FeatureView) -> list[Any]:
    return [row.values for row in online.get_online_features(view, [{"id": f"e{i:04}"} for i in range(7)])]


def test_a_run_outlives_its_connections_and_their_passwords(
    scene: Scene, server: Server, login: ChangingLogin, online: OnlineStore, view: FeatureView
) -> None:
    result = run(scene, view, online, login.expire)
    model = scene.model(view)
    check_counts(result, model.run("full"))
    check_online(OnlineStore(server.client), view, model)
    assert [told["outcome"] for told in online.runs(view)] == ["success"]
    assert len(set(login.given)) >= BATCHES


def test_runs_pushes_and_readers_go_on_while_passwords_change(
    scene: Scene, server: Server, login: ChangingLogin, online: OnlineStore, view: FeatureView
) -> None:
    run(scene, view, online, lambda: None)
    expected = rows(online, view)
    until = login.changes + CHANGES

    def read() -> None:
        while login.changes < until:
            assert rows(online, view) == expected

    async def read_async() -> None:
        entities = [{"id": f"e{i:04}"} for i in range(7)]
        async with AsyncOnlineStore.from_url(server.url, credential_provider=login) as store:
            while login.changes < until:
                found = await store.get_online_features(view, entities)
                assert [row.values for row in found] == expected

    with ThreadPoolExecutor() as threads, login.expiring():
        readers = [threads.submit(read), threads.submit(asyncio.run, read_async())]
        while login.changes < until:
            run(scene, view, online, lambda: None)
            scene.push(online, view, retry_for=RETRY_FOR)
        for reader in readers:
            reader.result()
    model = scene.model(view)
    model.run("full")
    model.push(scene.pushed)
    check_online(OnlineStore(server.client), view, model)


@pytest.mark.parametrize("protocol", [2, 3])
def test_a_connection_that_is_no_longer_logged_in_logs_in_again(
    scene: Scene, server: Server, login: ChangingLogin, view: FeatureView, protocol: int
) -> None:
    url = f"{server.url}?protocol={protocol}"
    online = OnlineStore.from_url(url, credential_provider=login)

    def log_out() -> None:
        """Log out all connections, also that of a run, and have Redis forget the password."""
        pool = online._client.connection_pool
        for connection in [*pool._available_connections, *pool._in_use_connections]:
            with suppress(redis.ConnectionError):
                connection.send_command("RESET")
                connection.read_response()
        login.change()

    run(scene, view, online, log_out)
    log_out()
    expected = rows(online, view)
    log_out()
    scene.push(online, view)

    async def read() -> Any:
        async with AsyncOnlineStore.from_url(url, credential_provider=login) as store:
            await store.freshness(view)
            pool = store._client.connection_pool
            connection = await pool.get_connection()
            await connection.send_command("RESET")
            await connection.read_response()
            await pool.release(connection)
            login.change()
            found = await store.get_online_features(view, [{"id": f"e{i:04}"} for i in range(7)])
            return [row.values for row in found]

    assert asyncio.run(read()) == rows(online, view) == expected
    online._client.close()


def test_a_login_that_is_refused_for_good_ends_a_run(
    scene: Scene, server: Server, login: ChangingLogin, online: OnlineStore, view: FeatureView
) -> None:
    def dismiss() -> None:
        server.client.acl_deluser("changing")

    with pytest.raises(OnlineAccessError, match="or the identity that its credential provider logs in with"):
        run(scene, view, online, dismiss, retry_for=timedelta(seconds=0.5))
    with pytest.raises(OnlineAccessError, match="or the identity"):
        rows(online, view)


class Failing(CredentialProvider):
    """Fails where another provider would be asked, or knows only a former password, as often as a test says.

    :ivar threads: that have asked.
    """

    def __init__(self, provider: CredentialProvider) -> None:
        self.provider = provider
        self.failures = self.refusals = 0
        self.threads: set[int] = set()

    def get_credentials(self) -> Any:
        self.threads.add(threading.get_ident())
        if self.failures:
            self.failures -= 1
            raise ValueError("the service of tokens is away")
        name, password = self.provider.get_credentials()
        if self.refusals:
            self.refusals -= 1
            return name, "former"
        return name, password


def test_a_login_that_is_refused_for_a_while_is_tried_again_by_runs_and_pushes(
    scene: Scene, server: Server, login: ChangingLogin, view: FeatureView
) -> None:
    provider = Failing(login)
    online = OnlineStore.from_url(server.url, credential_provider=provider)

    def refuse() -> None:
        provider.refusals = 10  # more than redis-py itself tries
        login.expire()

    model = scene.model(view)
    refuse()
    check_counts(run(scene, view, online, refuse), model.run("full"))
    refuse()
    scene.push(online, view, retry_for=RETRY_FOR)
    model.push(scene.pushed)
    check_online(OnlineStore(server.client), view, model)
    online._client.close()


def test_an_identity_that_cannot_be_asked_for_a_while_is_asked_again(
    scene: Scene, server: Server, login: ChangingLogin, view: FeatureView
) -> None:
    provider = Failing(login)
    online = OnlineStore.from_url(server.url, credential_provider=provider)

    def fail() -> None:
        provider.failures = 10
        login.expire()

    result = run(scene, view, online, fail)
    check_counts(result, scene.model(view).run("full"))
    provider.failures = 10
    login.expire()
    message = "Failing gives no credentials: ValueError: the service of tokens is away -> check that the service"
    with pytest.raises(OnlineStoreUnavailableError, match=message):
        rows(online, view)
    online._client.close()


def test_the_processes_of_a_run_log_in_with_credentials_that_it_asks_for(
    scene: Scene, server: Server, login: ChangingLogin, view: FeatureView
) -> None:
    provider = Failing(login)
    online = OnlineStore.from_url(server.url, credential_provider=provider)
    given = parse_dsn(scene.database.uri)
    user, password = given.pop("user"), given.pop("password")
    offline = OfflineStore(make_dsn(**given), credentials=lambda: (user, password))
    model = scene.model(view)
    check_counts(materialize(view, offline, online, full=True, parallel=2), model.run("full"))
    check_online(OnlineStore(server.client), view, model)

    provider.failures = 1
    with pytest.raises(OnlineStoreUnavailableError, match="Failing gives no credentials"):
        pickle.dumps(online)
    online._client.close()


@pytest.mark.parametrize("given, told", [
    (None, "NoneType"), (5, "int"), ("canary", "str"), ((), "()"), (("u", None), "(str, NoneType)"),
    (("u", "canary", "x"), "(str, str, str)"), (("u", "canary\ud800"), "(str, str)"),
])  # fmt: skip
def test_credentials_that_redis_cannot_be_sent_are_refused_without_being_shown(
    server: Server, view: FeatureView, given: Any, told: str
) -> None:
    class Wrong(CredentialProvider):
        def get_credentials(self) -> Any:
            return given

    async def read() -> Any:
        async with AsyncOnlineStore.from_url(server.url, credential_provider=Wrong()) as store:
            return await store.freshness(view)

    online = OnlineStore.from_url(server.url, credential_provider=Wrong())
    for read_it in (lambda: online.freshness(view), lambda: asyncio.run(read())):
        with pytest.raises(OnlineAccessError, match=re.escape(f"returned {told} -> return (user, password)")) as raised:
            read_it()
        assert "canary" not in repr(raised.value)
    online._client.close()


class Slow(CredentialProvider):
    """Gives credentials, at first only when nobody waits for them any more."""

    def __init__(self, provider: CredentialProvider) -> None:
        self.provider = provider
        self.interruption: BaseException | None = KeyboardInterrupt()

    def get_credentials(self) -> Any:
        interruption, self.interruption = self.interruption, None
        if interruption:
            raise interruption
        return self.provider.get_credentials()

    async def get_credentials_async(self) -> Any:
        if self.interruption:
            self.interruption = None
            await asyncio.sleep(60)
        return self.provider.get_credentials()


def test_a_login_that_is_broken_off_leaves_no_connection_without_a_login(
    server: Server, login: ChangingLogin, view: FeatureView
) -> None:
    in_database_3 = f"{server.url.removesuffix('/0')}/3"

    async def read() -> Any:
        async with AsyncOnlineStore.from_url(in_database_3, credential_provider=Slow(login)) as store:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(store.freshness(view), 0.2)
            await store.freshness(view)
            return await store._client.client_info()

    online = OnlineStore.from_url(in_database_3, credential_provider=Slow(login))
    with pytest.raises(KeyboardInterrupt):
        online.freshness(view)
    online.freshness(view)
    for found in (online._client.client_info(), asyncio.run(read())):
        assert (found["user"], int(found["db"])) == ("changing", 3)
    online._client.close()


def test_a_provider_without_asyncio_does_not_block_the_event_loop(
    server: Server, login: ChangingLogin, view: FeatureView
) -> None:
    provider = Failing(login)

    async def read() -> Any:
        async with AsyncOnlineStore.from_url(server.url, credential_provider=provider) as store:
            return await store.freshness(view)

    assert asyncio.run(read()).is_materialized is False
    assert threading.get_ident() not in provider.threads


def test_credentials_that_are_renewed_on_open_connections_do_not_come_between_a_run_and_its_replies(
    scene: Scene, server: Server, login: ChangingLogin, view: FeatureView
) -> None:
    credentials = pytest.importorskip("redis.auth.token")
    from redis.credentials import StreamingCredentialProvider

    class Streaming(StreamingCredentialProvider):
        def __init__(self) -> None:
            self.callbacks: list[Any] = []

        def get_credentials(self) -> Any:
            return login.get_credentials()

        def on_next(self, callback: Any) -> None:
            self.callbacks.append(callback)

        def on_error(self, callback: Any) -> None:
            pass

        def is_streaming(self) -> bool:
            return True

        def renew(self) -> None:
            login.change()
            name, password = login.get_credentials()
            token = credentials.SimpleToken(password, -1, 0, {"oid": name})
            for callback in self.callbacks:
                callback(token)

    provider = Streaming()
    online = OnlineStore.from_url(server.url, credential_provider=provider)
    result = run(scene, view, online, provider.renew)
    model = scene.model(view)
    check_counts(result, model.run("full"))
    check_online(OnlineStore(server.client), view, model)
    assert len(provider.callbacks) == 1
    online._client.close()


def test_a_cluster_is_written_and_read_while_passwords_change(scene: Scene, view: FeatureView) -> None:
    with workplace("changing_cluster") as place, cluster(place, *STEADY, replicas=0) as servers:
        login = ChangingLogin([node.client for node in servers.nodes])
        provider = Failing(login)

        def refuse() -> None:
            provider.refusals = 20  # more than redis-py itself tries
            login.expire()

        with servers.client(credential_provider=provider) as client:
            online = OnlineStore(client)
            result = run(scene, view, online, refuse)
            model = scene.model(view)
            check_counts(result, model.run("full"))
            login.expire()
            scene.push(online, view)
            model.push(scene.pushed)
            login.expire()
            found = rows(online, view)

        async def read() -> Any:
            nodes = [redis.asyncio.cluster.ClusterNode("127.0.0.1", node.port) for node in servers.nodes]
            client = redis.asyncio.RedisCluster(startup_nodes=nodes, credential_provider=login)
            async with AsyncOnlineStore(client) as store:
                await store.freshness(view)
                login.expire()
                return [row.values for row in
                        await store.get_online_features(view, [{"id": f"e{i:04}"} for i in range(7)])]  # fmt: skip

        assert asyncio.run(read()) == found
        with servers.client() as client:
            check_online(OnlineStore(client), view, model)
