"""A Redis that restarts, hangs, forgets, is full, fails over or refuses while a run writes: what the run ends in."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import redis
from online_features import FeatureView, MaterializationResult, OfflineStore, OnlineStore, materialize
from online_features.common import retry_budget
from online_features.common.backoff import Backoff
from online_features.embedded import HOST, reserved_port
from online_features.errors import (
    NotReplicatedError,
    OnlineAccessError,
    OnlineDataError,
    OnlineDataLostError,
    OnlineFeaturesError,
    OnlineStoreFullError,
)
from online_features.layouts import keyspace
from online_features.online.write.online_run import CLEANUP_SECONDS
from online_features_provider.hooks.online import OnlineStoreHook
from redis.backoff import NoBackoff
from redis.retry import Retry

from demo.workplace import workplace
from tests.support.leases import shorten_leases
from tests.support.model import Model
from tests.support.online import key_of, replies
from tests.support.processes import until
from tests.support.scene import (  # noqa: F401
    OUTCOMES,
    ROWS_PER_CALL,
    Scene,
    check_counts,
    check_online,
    no_thread_and_no_session_is_left,
    scene_of_rows,
    small_packets_and_pauses,
)
from tests.support.servers.proxy import Fault, proxied
from tests.support.servers.redis_servers import (
    PASSWORD,
    PRIMARY,
    SENTINEL_PASSWORD,
    Server,
    Watched,
    replicated,
    running,
    watched,
)

pytestmark = [pytest.mark.faults, pytest.mark.servers]

RETRY_FOR = timedelta(seconds=30)
BATCH_ROWS, BATCHES = 50, 6
TIMEOUT = 5.0  # seconds: no pause of a machine that is busy is taken for a fault
BRIEF_TIMEOUT = 0.3  # where one is to be noticed
WHILE = 0.6  # seconds that a fault goes on when it has been noticed: longer than the time-out
PAUSE = 3.0  # seconds of one that ends by itself: long enough for the slowest to notice it
ANEW = ["success", "OnlineDataLostError"]  # outcomes in the history, newest first
ONCE = ["success"]

Do = Callable[[], object]
Outage = Callable[[Server], AbstractContextManager[None]]


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with workplace("redis_outages") as folder:
        yield folder


@pytest.fixture(scope="module")
def one_server(folder: Path) -> Iterator[Server]:
    with running(folder / "one") as server:
        yield server


@pytest.fixture
def server(one_server: Server) -> Server:
    one_server.client.flushall()
    return one_server


@pytest.fixture
def view(scene: Scene, layout: str) -> FeatureView:
    return scene.view("outages", layout)


class After:
    """Does something after a batch of a run, once.

    :param does: number of the batch to what is done after it.
    """

    def __init__(self, does: dict[int, Do]) -> None:
        self._batches = 0
        self._does = does

    def __call__(self, _: object) -> None:
        self._batches += 1
        self._does.get(self._batches, lambda: None)()


@contextmanager
def connected(server: Server, **settings: Any) -> Iterator[redis.Redis]:
    """A client that gives up early and does not retry: that is for us to do."""
    login = {"password": server.password}
    usual = {"host": HOST, "port": server.port, "socket_timeout": TIMEOUT, "retry": Retry(NoBackoff(), 0)}
    with redis.Redis(**{**login, **usual, **settings}) as client:
        yield client


def run(
    scene: Scene, client: redis.Redis, view: FeatureView, does: dict[int, Do] | None = None, **options: Any
) -> MaterializationResult:
    """A run of several batches."""
    return materialize(
        view, OfflineStore(scene.database.uri), OnlineStore(client),
        **{"batch_rows": BATCH_ROWS, "retry_for": RETRY_FOR, "on_progress": After(does or {}), **options},
    )  # fmt: skip


def model_of(scene: Scene, view: FeatureView) -> Model:
    """What is online after a run."""
    model = scene.model(view)
    model.run("full")
    return model


def check(scene: Scene, server: Server, view: FeatureView, result: MaterializationResult, outcomes: list[str]) -> None:
    """All is as the model has it, and the history tells the runs that were needed."""
    online, model = OnlineStore(server.client), scene.model(view)
    check_counts(result, model.run("full"))
    check_online(online, view, model)
    assert online.freshness(view).watermark == result.watermark is not None
    runs = online.runs(view)
    assert [told["outcome"] for told in runs] == outcomes
    for told in runs:
        assert told["rows_read"] == sum(told[f"rows_{name}"] for name in OUTCOMES)


@contextmanager
def setting(server: Server, name: str, value: object, usual: object) -> Iterator[None]:
    server.client.config_set(name, value)
    try:
        yield
    finally:
        server.client.config_set(name, usual)


def clients_killed(server: Server) -> None:
    server.client.client_kill_filter(_type="normal", skipme=True)


def too_few_replicas(server: Server) -> AbstractContextManager[None]:
    return setting(server, "min-replicas-to-write", 1, 0)


@contextmanager
def no_more_clients(server: Server) -> Iterator[None]:
    with setting(server, "maxclients", 1, 1000):
        clients_killed(server)
        yield


@contextmanager
def clients_paused(server: Server) -> Iterator[None]:
    server.client.client_pause(int(PAUSE * 1000))
    yield


@contextmanager
def somebodys_endless_script(server: Server) -> Iterator[None]:
    def loop() -> None:
        with suppress(redis.ResponseError), connected(server, socket_timeout=None) as client:
            client.eval("while true do end", 0)

    with setting(server, "lua-time-limit", 50, 5000):
        looping = threading.Thread(target=loop)
        looping.start()
        until(lambda: str(replies(server.client)("PING")).startswith("BUSY"))
        try:
            yield
        finally:
            server.client.script_kill()
            looping.join()


@contextmanager
def read_only(server: Server) -> Iterator[None]:
    with reserved_port() as nobodys:
        server.client.replicaof(HOST, nobodys)
        try:
            yield
        finally:
            server.client.replicaof("NO", "ONE")


PASSING: dict[str, tuple[str, Outage, list[str]]] = {
    "a server that hangs": ("hash", Server.paused, ONCE),
    "clients paused": ("json", clients_paused, ONCE),
    "somebody's endless script": ("feast", somebodys_endless_script, ONCE),
    "too few replicas": ("hash", too_few_replicas, ONCE),
    "no more clients": ("json", no_more_clients, ONCE),
    "read only": ("feast", read_only, ANEW),  # another may have been the primary meanwhile
}


@pytest.mark.parametrize("layout, outage, outcomes", PASSING.values(), ids=PASSING)
def test_what_passes_is_waited_for(
    server: Server, scene: Scene, view: FeatureView, outage: Outage, outcomes: list[str],
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    def end_when_noticed() -> None:
        until(lambda: "Trying again in" in caplog.text)
        time.sleep(WHILE)
        lasting.close()

    with ExitStack() as lasting, connected(server, socket_timeout=BRIEF_TIMEOUT) as client:
        end = threading.Thread(target=end_when_noticed)

        def begin() -> None:
            lasting.enter_context(outage(server))
            end.start()

        result = run(scene, client, view, {2: begin})
        end.join()
    check(scene, server, view, result, outcomes)
    assert "Trying again in" in caplog.text


AT_ONCE: dict[str, tuple[Callable[[Server], object], list[str]]] = {
    "scripts forgotten": (lambda server: server.client.script_flush(), ONCE),
    "connections killed": (clients_killed, ONCE),
    "everything flushed": (lambda server: server.client.flushall(), ANEW),
}


@pytest.mark.layouts
@pytest.mark.parametrize("befall, outcomes", AT_ONCE.values(), ids=AT_ONCE)
def test_what_befalls_a_run_at_once_is_mended(
    server: Server, scene: Scene, view: FeatureView, befall: Callable[[Server], object], outcomes: list[str]
) -> None:
    with connected(server) as client:
        result = run(scene, client, view, {2: lambda: befall(server), 4: lambda: outcomes == ONCE and befall(server)})
    check(scene, server, view, result, outcomes)


@pytest.mark.layouts
def test_without_patience_a_flush_is_an_error_and_the_next_run_is_a_full_one(
    server: Server, scene: Scene, view: FeatureView
) -> None:
    with connected(server) as client:
        run(scene, client, view)
        with pytest.raises(OnlineDataLostError, match="the watermark has not moved -> run again"):
            run(scene, client, view, {BATCHES: server.client.flushall}, full=True, retry_for=timedelta(0))
        assert OnlineStore(client).freshness(view).watermark is None
        check(scene, server, view, run(scene, client, view), ANEW)


@pytest.mark.parametrize("layout", ["json"])
def test_a_slow_server_is_no_fault(server: Server, scene: Scene, view: FeatureView) -> None:
    with proxied(HOST, server.port) as proxy, connected(server, port=proxy.port) as client:
        proxy.usual = Fault(delay=0.01)
        check(scene, server, view, run(scene, client, view, retry_for=timedelta(0)), ONCE)
        assert len(proxy.connections) <= 3


def restarted(server: Server) -> None:
    server.kill()
    server.start()


def saved(server: Server) -> None:
    server.client.shutdown(save=True)
    restarted(server)


RESTARTS: dict[str, tuple[tuple[str, ...], dict[int, Callable[[Server], object]]]] = {
    "without its data": ((), {3: restarted}),
    "saved": ((), {3: saved}),
    "with a log of all commands": (("--appendonly", "yes", "--appendfsync", "always"), {3: restarted}),
    "with what was saved before": ((), {1: lambda server: server.client.save(), 3: restarted}),
    "with what was saved before, at the end": ((), {1: lambda server: server.client.save(), BATCHES: restarted}),
}


@pytest.mark.parametrize("layout", ["hash"])
@pytest.mark.parametrize("options, does", RESTARTS.values(), ids=RESTARTS)
def test_a_server_that_restarts_has_lost_rows_for_all_a_run_knows(
    folder: Path, scene: Scene, view: FeatureView, options: tuple[str, ...], project: str,
    does: dict[int, Callable[[Server], object]],
) -> None:  # fmt: skip
    with running(folder / project, *options) as server, connected(server) as client:
        todo = {batch: lambda do=do: do(server) for batch, do in does.items()}
        check(scene, server, view, run(scene, client, view, todo), ANEW)


SLOW_LOADING = ("--key-load-delay", "4000", "--rdbcompression", "no")  # microseconds
LOADED = {f"other:{i}": "x" * 100_000 for i in range(300)}  # every 2 MiB Redis answers that it loads


@pytest.mark.parametrize("layout", ["hash"])
@pytest.mark.parametrize("begins", ["before the run", "within the run"])
def test_a_server_that_loads_its_data_is_waited_for(
    folder: Path, scene: Scene, view: FeatureView, project: str, begins: str, caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    # It loads for more than a second: no pause between attempts is so long that none falls into it.
    monkeypatch.setattr(retry_budget, "BACKOFF", Backoff(base=0.02, longest=0.1, jitter=1.0))
    with running(folder / project, *SLOW_LOADING) as server, connected(server) as client:
        server.client.mset(LOADED)
        server.client.save()
        server.kill()
        is_over = threading.Event()
        # The server dies with the thread that has started it.
        loading = threading.Thread(target=lambda: (server.start(), is_over.wait()))
        if begins == "before the run":
            loading.start()
            result = run(scene, client, view)
        else:
            server.start()
            result = run(scene, client, view, {2: lambda: (server.kill(), loading.start())})
        check(scene, server, view, result, ONCE if begins == "before the run" else ANEW)
        is_over.set()
        loading.join()
    assert "loading the dataset" in caplog.text


@contextmanager
def out_of_memory(server: Server, view: FeatureView, folder: Path) -> Iterator[None]:
    # One byte: what is used now may be less in a moment, when buffers are given back.
    with setting(server, "maxmemory", 1, 0):
        yield


@contextmanager
def a_disk_that_is_full(server: Server, view: FeatureView, folder: Path) -> Iterator[None]:
    def save(status: str) -> None:
        server.client.bgsave()
        until(lambda: server.client.info("persistence")["rdb_last_bgsave_status"] == status)

    in_the_way = folder / "one" / "dump.rdb"
    in_the_way.mkdir()
    try:
        with setting(server, "save", "3600 1", ""):
            save("err")
            yield
    finally:
        in_the_way.rmdir()
        save("ok")
        in_the_way.unlink()


@contextmanager
def another_password(server: Server, view: FeatureView, folder: Path) -> Iterator[None]:
    with setting(server, "requirepass", "another", ""):
        clients_killed(server)
        yield


@contextmanager
def no_more_scripts(server: Server, view: FeatureView, folder: Path) -> Iterator[None]:
    server.client.execute_command("ACL SETUSER", "default", "-evalsha")
    try:
        yield
    finally:
        server.client.execute_command("ACL SETUSER", "default", "+@all")


@contextmanager
def a_key_of_another_type(server: Server, view: FeatureView, folder: Path) -> Iterator[None]:
    key = key_of(OnlineStore(server.client), view, id="e0299")
    server.client.delete(key)
    server.client.rpush(key, "somebody's")
    try:
        yield
    finally:
        server.client.delete(key)


REFUSALS: dict[str, tuple[Any, type[OnlineFeaturesError], str]] = {
    "out of memory": (out_of_memory, OnlineStoreFullError, "-> raise maxmemory, or give the view a ttl"),
    "a disk that is full": (a_disk_that_is_full, OnlineStoreFullError, "MISCONF.* -> make room on the disk of Redis"),
    "another password": (another_password, OnlineAccessError, "-> check user and password of the Redis connection"),
    "no more scripts": (no_more_scripts, OnlineAccessError, "-> grant the Redis user the command and the keys"),
    "a key of another type": (a_key_of_another_type, OnlineDataError, "WRONGTYPE.* -> look at the key"),
}


@pytest.mark.layouts
@pytest.mark.parametrize("refusal, error, message", REFUSALS.values(), ids=REFUSALS)
def test_what_no_retry_mends_fails_at_once_and_the_run_after_it_is_complete(
    server: Server, scene: Scene, view: FeatureView, folder: Path, refusal: Any, error: type[OnlineFeaturesError],
    message: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    shorten_leases(5, monkeypatch.setattr)  # where the run cannot release its lease, the next one waits for its end
    with ExitStack() as lasting, connected(server) as client:
        # Only a run in place meets what others have put at a row's key.
        options = {"full": True, "in_place": True} if refusal is a_key_of_another_type else {}
        with pytest.raises(error, match=f"^feature view 'view', Redis: .*{message}"):
            run(scene, client, view, {2: lambda: lasting.enter_context(refusal(server, view, folder))}, **options)
        # A connection that is killed is made again at once, and then it is over.
        assert caplog.text.count("Trying again in") == (refusal is another_password)
        lasting.close()
        assert OnlineStore(client).freshness(view).watermark is None
        server.client.delete(keyspace.runs_key(view))
        check(scene, server, view, run(scene, client, view), ONCE)


@pytest.mark.parametrize("settings, message", [
    ({"password": "wrong"}, "-> check user and password of the Redis connection"),
    ({"username": "reader", "password": "word"}, "-> grant the Redis user the command and the keys"),
])  # fmt: skip
@pytest.mark.parametrize("layout", ["hash"])
def test_a_refused_login_or_command_is_not_tried_again(
    folder: Path, scene: Scene, view: FeatureView, settings: dict[str, str], message: str, project: str,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    with running(folder / project, password=PASSWORD) as server:
        server.client.acl_setuser("reader", enabled=True, passwords=["+word"], keys=["*"], categories=["+@read"])
        with connected(server, **settings) as client, pytest.raises(OnlineAccessError, match=message):
            run(scene, client, view)
        with connected(server, **settings) as client, pytest.raises(OnlineAccessError, match=message):
            scene.push(OnlineStore(client), view)
    assert "Trying again in" not in caplog.text


@pytest.mark.parametrize("layout", ["hash"])
def test_an_evicting_policy_is_warned_of_once_a_run(
    server: Server, scene: Scene, view: FeatureView, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        setting(server, "maxmemory", 1_000_000_000, 0),
        setting(server, "maxmemory-policy", "allkeys-lru", "noeviction"),
        connected(server) as client,
    ):
        check(scene, server, view, run(scene, client, view), ONCE)
    assert [record.getMessage().count("maxmemory-policy allkeys-lru") for record in caplog.records].count(1) == 1


# What a run without faults asks besides what its rows need: INFO as it begins and as it ends is the price of its truth.
CONVERSATION = [
    "SADD", "SET", "INFO",
    "EVAL", "HGETALL",  # the generations, and the state of the published one
    *["EVAL"] * 3,  # takes the lease, and renews it
    "INFO", "EVAL",  # commits
    "EVAL", "SET",  # releases the lease, and keeps the statistics
    *["EVAL"] * 3,  # looks for generations to remove
]  # fmt: skip


@pytest.mark.parametrize("layout", ["hash"])
def test_a_run_without_faults_asks_no_more_than_it_must(server: Server, scene: Scene, view: FeatureView) -> None:
    with connected(server) as client:
        run(scene, client, view)
        server.client.config_resetstat()
        with server.client.monitor() as monitor:
            run(scene, client, view, full=True, in_place=True)
            server.client.echo("the end")
            asked = [command.split()[0] for command in iter(lambda: said(monitor), "ECHO the end") if command]
    assert asked.count("EVALSHA") == BATCHES * -(-BATCH_ROWS // ROWS_PER_CALL)
    assert [word for word in asked if word not in ("HELLO", "CLIENT", "EVALSHA")] == CONVERSATION


def said(monitor: Any) -> str:
    told = monitor.next_command()
    return "" if told["client_type"] == "lua" else str(told["command"])


@pytest.fixture(scope="module")
def pair(folder: Path) -> Iterator[tuple[Server, ...]]:
    (folder / "pair").mkdir()
    with replicated(folder / "pair", password=PASSWORD) as servers:
        yield servers


@pytest.fixture
def primary(pair: tuple[Server, ...]) -> Server:
    pair[0].client.flushall()
    return pair[0]


@pytest.fixture
def replica(pair: tuple[Server, ...]) -> Server:
    return pair[1]


@pytest.mark.layouts
def test_what_replicas_have_is_claimed(primary: Server, replica: Server, scene: Scene, view: FeatureView) -> None:
    with connected(primary) as client:
        result = run(scene, client, view, {3: lambda: clients_killed(primary)}, wait_for_replicas=1)
        with setting(replica, "replica-read-only", "no", "yes"):  # the scripts that read rows might write
            check_online(OnlineStore(replica.client), view, model_of(scene, view))
    check(scene, primary, view, result, ONCE)


@pytest.mark.parametrize("layout", ["hash"])
@pytest.mark.parametrize("killed", [False, True], ids=["untouched", "killed"])
def test_what_replicas_do_not_have_in_time_is_not_claimed(
    primary: Server, replica: Server, scene: Scene, view: FeatureView, killed: bool
) -> None:
    waits_since: list[float] = []

    def begin_to_wait() -> None:
        waits_since.append(time.monotonic())
        if killed:
            clients_killed(primary)

    with ExitStack() as lasting, connected(primary) as client:
        does: dict[int, Do] = {2: lambda: lasting.enter_context(replica.paused()), BATCHES: begin_to_wait}
        with pytest.raises(NotReplicatedError, match="0 of 1 replicas have the run's rows after 1.5 seconds"):
            run(scene, client, view, does, wait_for_replicas=1, replica_timeout=timedelta(seconds=1.5))
        assert 1.5 <= time.monotonic() - waits_since[0] < 6
        assert OnlineStore(client).freshness(view).watermark is None
        lasting.close()
        until(lambda: primary.replicas == 1)
        result = run(scene, client, view, wait_for_replicas=1)
        check(scene, primary, view, result, ["success", "NotReplicatedError"])


@pytest.mark.parametrize("layout", ["hash"])
def test_a_replica_that_stays_one_is_no_place_to_write(replica: Server, scene: Scene, view: FeatureView) -> None:
    began = time.monotonic()
    with connected(replica) as client, pytest.raises(OnlineAccessError, match="-> connect to the primary: this server"):
        run(scene, client, view, retry_for=timedelta(seconds=0.5))
    assert time.monotonic() - began >= 0.5


def store_behind(servers: Watched, monkeypatch: pytest.MonkeyPatch) -> OnlineStore:
    extra = {"sentinels": servers.addresses, "sentinel_master": PRIMARY, "sentinel_password": SENTINEL_PASSWORD,
             "socket_timeout": 1}  # fmt: skip
    connection = {"conn_type": "redis", "password": PASSWORD, "extra": extra}
    monkeypatch.setenv("AIRFLOW_CONN_ONLINE_STORE", json.dumps(connection))
    return OnlineStoreHook().get_store()


@pytest.mark.parametrize("layout", ["hash"])
@pytest.mark.parametrize("loses", [False, True], ids=["in step", "lagging"])
def test_after_a_failover_all_rows_are_at_the_new_primary(
    folder: Path, scene: Scene, view: FeatureView, monkeypatch: pytest.MonkeyPatch, project: str, loses: bool
) -> None:
    (folder / project).mkdir()
    with watched(folder / project) as servers, ExitStack() as lasting:
        before, replica = servers.servers

        def fail_over() -> None:
            before.kill()
            lasting.close()

        does: dict[int, Do] = {4: fail_over}
        if loses:
            does[1] = lambda: lasting.enter_context(replica.paused())
        online = store_behind(servers, monkeypatch)
        result = run(scene, online._client, view, does, retry_for=timedelta(minutes=1))
        assert servers.primary() is replica
        check(scene, replica, view, result, ANEW)


@pytest.mark.parametrize("layout", ["hash"])
def test_a_user_who_may_ask_for_no_information_can_run(server: Server, scene: Scene, view: FeatureView) -> None:
    server.client.execute_command("ACL SETUSER", "writer", "reset", "on", ">word", "~*", "+@all", "-info", "-restore")
    with connected(server, username="writer", password="word") as client:
        check(scene, server, view, run(scene, client, view, retry_for=timedelta(0)), ONCE)


@pytest.mark.parametrize("layout", ["hash"])
def test_an_impatient_client_is_told_of_replicas_that_lag(
    primary: Server, replica: Server, scene: Scene, view: FeatureView
) -> None:
    options = {"wait_for_replicas": 1, "replica_timeout": timedelta(seconds=0.5), "retry_for": timedelta(seconds=0.5)}
    with connected(primary) as client, replica.paused(), pytest.raises(NotReplicatedError):
        run(scene, client, view, **options)
    until(lambda: primary.replicas == 1)


@pytest.mark.parametrize("layout", ["hash"])
@pytest.mark.parametrize("has_run", [False, True], ids=["at first", "changed"])
def test_a_layout_that_is_taken_back_after_a_run_broke_off_leaves_nothing(
    server: Server, scene: Scene, view: FeatureView, has_run: bool
) -> None:
    def fail() -> None:
        raise LookupError

    with connected(server) as client:
        if has_run:
            run(scene, client, view)
        with pytest.raises(LookupError):
            run(scene, client, scene.view("outages", "json"), {3: fail})
        if has_run:
            check_online(OnlineStore(server.client), view, model_of(scene, view))
        check_counts(run(scene, client, view, full=True), scene.model(view).run("full"))
        check_online(OnlineStore(server.client), view, model_of(scene, view))


@pytest.mark.parametrize("layout", ["hash"])
def test_a_replica_that_stays_one_is_no_place_to_push(
    primary: Server, replica: Server, scene: Scene, view: FeatureView
) -> None:
    assert primary.client.wait(1, 5000) == 1  # nothing is known of the view
    with connected(replica) as client, pytest.raises(OnlineAccessError, match="-> connect to the primary: this server"):
        scene.push(OnlineStore(client), view, retry_for=timedelta(seconds=0.2))


@pytest.mark.parametrize("layout", ["hash"])
def test_who_ends_a_run_does_not_wait_for_a_redis_that_hangs(server: Server, scene: Scene, view: FeatureView) -> None:
    threads = set(threading.enumerate())
    interrupted: list[float] = []
    with ExitStack() as hanging:

        def hang_and_interrupt() -> None:
            hanging.enter_context(server.paused())
            interrupted.append(time.monotonic())
            raise KeyboardInterrupt

        with redis.Redis(host=HOST, port=server.port) as patient, pytest.raises(KeyboardInterrupt):
            run(scene, patient, view, {2: hang_and_interrupt})
        assert time.monotonic() - interrupted[0] < 2 * CLEANUP_SECONDS
    until(lambda: set(threading.enumerate()) <= threads)
