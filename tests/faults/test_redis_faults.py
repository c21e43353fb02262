"""Connections to Redis that break at random points of runs and pushes: every row arrives, and is counted once."""

from __future__ import annotations

import logging
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pandas as pd
import pytest
import redis
from online_features import FeatureView, MaterializationResult, OfflineStore, OnlineStore, materialize
from online_features.embedded import HOST
from online_features.errors import OnlineStoreUnavailableError
from online_features.feature_view import LAYOUTS
from online_features.layouts import keyspace
from online_features.offline.source_access import SourceAccess
from online_features.online.redis._single_server import PURPOSE
from redis.backoff import NoBackoff
from redis.retry import Retry

from demo.workplace import workplace
from tests.support.model import Model
from tests.support.processes import until
from tests.support.scene import Scene, check_counts, check_online, mappings, scene_of_rows, small_packets_and_pauses  # noqa: F401
from tests.support.servers.databases import Database
from tests.support.servers.proxy import Fault, Proxy, proxied
from tests.support.servers.redis_servers import Server, running

pytestmark = [pytest.mark.oldest, pytest.mark.faults]

POINTS_OF_A_STAGE, POINTS_OF_ERASURE, POINTS_OF_PUSHES = 6, 4, 9  # in each layout
COMMIT = b'"success"'  # in the record of a run, with which its last command begins
LAST_BYTES = 32  # of the watermark, the last reply of a run
log = logging.getLogger(__name__)

RETRY_FOR = timedelta(seconds=10)
TIMEOUT = 0.3  # seconds: a connection that stalls is given up after it
BATCH_ROWS = 100  # three batches a run
ROWS_PER_CALL = 8
CALLS_PER_PACKET = 3  # so that two packets of a batch are in flight and more follow


DIRECT = "direct"  # the name of connections that are not through the proxy
STAGES = ("connecting", "marking", "sending", "committing", "being told")


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with workplace("redis_faults") as folder, running(folder / "alone") as server:
        yield server


@pytest.fixture(scope="module")
def proxy(server: Server) -> Iterator[Proxy]:
    with proxied(HOST, server.port) as proxy:
        yield proxy


@pytest.fixture(autouse=True)
def no_connection_is_left(server: Server) -> Iterator[None]:
    server.client.flushdb()
    yield
    until(lambda: {client["name"] for client in server.client.client_list()[1:]} <= {DIRECT})


@pytest.fixture
def chance() -> random.Random:
    seed = random.randrange(2**32)
    log.warning("seed %d", seed)
    return random.Random(seed)


@pytest.fixture
def direct(server: Server) -> Iterator[OnlineStore]:
    with redis.Redis.from_url(server.url, client_name=DIRECT) as client:
        yield OnlineStore(client)


Bytes = tuple[int, int]  # from the client, from the server


@dataclass
class Attempt:
    """A run through the proxy, with what had passed on its connections when it began and ended to read Postgres.

    :ivar snapshots: of Postgres.
    """

    database: Database
    proxy: Proxy
    result: MaterializationResult | None = None
    snapshots: int = 0
    passed: list[list[Bytes]] = field(default_factory=list)

    def run(self, view: FeatureView, *, retries: int = 0, retry_for: timedelta = RETRY_FOR, **options: Any) -> None:
        with through(self.proxy, retries) as client:
            self.result = materialize(
                view, Snapshots(self.database.uri, self), OnlineStore(client),
                batch_rows=BATCH_ROWS, retry_for=retry_for, **options,
            )  # fmt: skip

    def mark(self) -> None:
        self.passed.append(passed(self.proxy))


class MarkedSource(SourceAccess):
    """Tells the attempt when a snapshot is taken, and when it is done with."""

    def __init__(self, store: Snapshots, view: FeatureView, attempt: Attempt) -> None:
        super().__init__(store._transactions, view)
        self._attempt = attempt

    @contextmanager
    def snapshot(self, *asked: Any) -> Iterator[Any]:
        self._attempt.snapshots += 1
        self._attempt.mark()
        with super().snapshot(*asked) as snapshot:
            yield snapshot
        self._attempt.mark()


class Snapshots(OfflineStore):
    def __init__(self, uri: str, attempt: Attempt) -> None:
        super().__init__(uri)
        self._attempt = attempt

    def _source(self, view: FeatureView) -> SourceAccess:
        return MarkedSource(self, view, self._attempt)


@contextmanager
def through(proxy: Proxy, retries: int = 0) -> Iterator[redis.Redis]:
    """A client that gives up early, and retries as often as said before we do."""
    with redis.Redis(host=HOST, port=proxy.port, socket_timeout=TIMEOUT, retry=Retry(NoBackoff(), retries)) as client:
        proxy.connections.clear()
        yield client
    proxy.disarm()


@dataclass(frozen=True)
class Stage:
    """A part of what passes on a connection, in bytes.

    :ivar index: of the connection.
    :ivar since: what the client says before bytes are counted.
    """

    index: int
    begin: Bytes
    end: Bytes
    since: bytes = b""

    def fault(self, chance: random.Random) -> Fault:
        """A fault somewhere in it."""
        ends = chance.choice(("close", "reset", "stall"))
        asked, answered = (chance.randint(*bounds) for bounds in zip(self.begin, self.end, strict=True))
        faults = [
            Fault(after_server=answered, since=self.since, ends=ends),
            Fault(after_server=answered, since=self.since, ends=ends, swallows=True),  # done, and not told
            Fault(after_client=asked, ends=ends),
        ]
        return chance.choice(faults if self.end[0] > self.begin[0] else faults[:2])


def passed(proxy: Proxy) -> list[Bytes]:
    """What has passed on each connection."""
    return [(traffic.from_client, traffic.from_server) for traffic in proxy.connections]


def stages(attempt: Attempt, connected: Bytes) -> dict[str, Stage]:
    """Where the stages of a run are in what has passed; ``attempt`` is one without faults."""
    total = passed(attempt.proxy)
    begun, sent = attempt.passed
    writing = total.index(max(total))
    return {
        "connecting": Stage(0, (0, 0), connected),
        "marking": Stage(0, connected, begun[0]),
        "sending": Stage(writing, begun[writing], sent[writing]),
        "committing": Stage(writing, sent[writing], total[writing]),
        "being told": Stage(writing, (0, 2), (0, LAST_BYTES), COMMIT),  # INFO is never of the same length
    }


def on_the_pool(attempt: Attempt) -> Stage:
    """All that has passed beside the writing: the state that is read, and what is cleared or pruned."""
    total = passed(attempt.proxy)
    return Stage(len(total) - 1, (0, 0), total[-1])


def handshake(proxy: Proxy) -> Bytes:
    """The bytes of a client that does no more than connect."""
    with through(proxy) as client:
        client.connection_pool.release(client.connection_pool.get_connection(*PURPOSE))
    (only,) = passed(proxy)
    return only


def pieces(scene: Scene) -> list[pd.DataFrame]:
    """The source's rows as a producer gives them who has many: several batches."""
    frame = pd.DataFrame(mappings(scene.source)).astype({"x": "Int64"})
    return [frame[begin : begin + BATCH_ROWS] for begin in range(0, len(frame), BATCH_ROWS)]


@dataclass
class Points:
    """Random points of a stage at which runs are cut, each run on rows of its own."""

    chance: random.Random
    project: str
    proxy: Proxy
    stage: Stage
    wanted: int
    struck: int = 0
    number: int = 0

    def __iter__(self) -> Iterator[str]:
        """A project for every run, until enough of them have been struck."""
        while self.struck < self.wanted:
            self.number += 1
            assert self.number <= 4 * self.wanted, "faults do not strike"
            fault = self.stage.fault(self.chance)
            log.warning("point %d: %s", self.number, fault)
            self.proxy.arm(*[None] * self.stage.index, fault)
            yield f"{self.project}{self.number:03}"
            self.struck += self.proxy.connections[self.stage.index].has_struck


def test_points_are_many() -> None:
    assert len(LAYOUTS) * (len(STAGES) * POINTS_OF_A_STAGE + 2 * POINTS_OF_ERASURE + POINTS_OF_PUSHES) >= 140


@pytest.mark.layouts
@pytest.mark.parametrize("stage", STAGES)
def test_a_run_goes_on_after_a_cut_and_reads_postgres_once(
    server: Server, proxy: Proxy, scene: Scene, project: str, layout: str, stage: str, chance: random.Random,
    direct: OnlineStore,
) -> None:  # fmt: skip
    model = scene.pushed_model(scene.view(project, layout))
    expected = model.run("full")

    def attempted(name: str) -> Attempt:
        view = scene.view(name, layout)
        scene.push(direct, view)
        attempt = Attempt(scene.database, proxy)
        attempt.run(view, retries=chance.choice((0, 0, 3)))
        check(direct, view, attempt, expected, model)
        return attempt

    connected = handshake(proxy)
    scene.push(direct, scene.view(project, layout))  # Redis knows the script when a run is measured
    server.client.config_resetstat()
    found = stages(attempted(f"{project}000"), connected)[stage]
    # Whoever ends a run again looks for it in the history.
    once, again = calls_of(server, "lrange"), []
    for name in Points(chance, project, proxy, found, POINTS_OF_A_STAGE):
        server.client.config_resetstat()
        assert attempted(name).snapshots == 1
        assert len(direct.runs(scene.view(name, layout))) == 1  # none broke off
        again.append(calls_of(server, "lrange") - once)
        server.client.flushdb()
    # What was carried out without being told was carried out again.
    assert stage != "being told" or all(again)


@pytest.mark.layouts
def test_a_run_begins_anew_after_a_cut_while_it_changes_the_layout(
    server: Server, proxy: Proxy, scene: Scene, project: str, layout: str, chance: random.Random, direct: OnlineStore
) -> None:
    before = LAYOUTS[LAYOUTS.index(layout) - 1]
    # Pushed rows are marked in all layouts but feast's, so that a build carries them over.
    of = scene.model if "feast" in (layout, before) else scene.pushed_model
    model = of(scene.view(project, layout))
    expected = model.run("full")

    def attempted(name: str) -> Attempt:
        scene.push(direct, scene.view(name, before))
        materialize(scene.view(name, before), OfflineStore(scene.database.uri), direct)
        attempt, view = Attempt(scene.database, proxy), scene.view(name, layout)
        attempt.run(view)
        check(direct, view, attempt, expected, model)
        return attempt

    found = on_the_pool(attempted(f"{project}000"))
    for name in Points(chance, project, proxy, found, POINTS_OF_ERASURE):
        assert attempted(name).snapshots <= 2
        server.client.flushdb()


def test_a_run_that_breaks_off_while_it_clears_claims_nothing(
    proxy: Proxy, scene: Scene, project: str, direct: OnlineStore
) -> None:
    def attempted(name: str, **options: Any) -> Attempt:
        view = scene.view(name, "feast")
        materialize(view, OfflineStore(scene.database.uri), direct)
        attempt = Attempt(scene.database, proxy)
        attempt.run(view, full=True, overwrite=True, **options)
        return attempt

    found = on_the_pool(attempted(f"{project}000"))
    for part in (0.5, 0.6, 0.7, 0.8, 0.9):  # of what Redis answers: the state is at its beginning
        view = scene.view(f"{project}{part}", "feast")
        proxy.arm(*[None] * found.index, Fault(after_server=int(part * found.end[1])))
        with pytest.raises(OnlineStoreUnavailableError):
            attempted(view.project, retry_for=timedelta(0))
        assert direct.freshness(view).watermark is None


@pytest.mark.layouts
def test_a_run_begins_anew_after_a_cut_while_it_prunes(
    server: Server, proxy: Proxy, scene: Scene, project: str, layout: str, chance: random.Random, direct: OnlineStore
) -> None:
    model = scene.pushed_model(scene.view(project, layout))
    expected, pruned = model.run("full", in_place=True), model.prune()

    def attempted(name: str) -> Attempt:
        view = scene.view(name, layout)
        scene.push(direct, view)
        attempt = Attempt(scene.database, proxy)
        attempt.run(view, full=True, in_place=True, prune=True)
        check(direct, view, attempt, expected, model)
        return attempt

    untouched = attempted(f"{project}000")
    assert untouched.result is not None
    assert untouched.result.entities_pruned == pruned > 0
    found = on_the_pool(untouched)
    for name in Points(chance, project, proxy, found, POINTS_OF_ERASURE):
        assert attempted(name).snapshots <= 2
        server.client.flushdb()


@pytest.mark.layouts
def test_a_push_goes_on_after_a_cut(
    server: Server, proxy: Proxy, scene: Scene, project: str, layout: str, chance: random.Random, direct: OnlineStore
) -> None:
    model = scene.pushed_model(scene.view(project, layout))
    expected = model.push(scene.source)

    def pushed(name: str) -> None:
        view = scene.view(name, layout)
        scene.push(direct, view)
        with through(proxy, chance.choice((0, 0, 3))) as client:
            result = OnlineStore(client).push(view, pieces(scene), retry_for=RETRY_FOR)
        check_counts(result, expected)
        check_online(direct, view, model)
        fresh = direct.freshness(view)
        assert fresh.watermark is None
        assert fresh.max_event_timestamp == max(row.ts for row in scene.pushed) >= result.max_event_timestamp

    pushed(f"{project}000")
    for name in Points(chance, project, proxy, Stage(0, (0, 0), passed(proxy)[0]), POINTS_OF_PUSHES):
        pushed(name)
        server.client.flushdb()


@pytest.mark.layouts
def test_without_patience_a_cut_is_an_error_that_claims_nothing(
    proxy: Proxy, scene: Scene, project: str, layout: str, direct: OnlineStore
) -> None:
    view, model = scene.view(project, layout), scene.model(scene.view(project, layout))
    attempt = Attempt(scene.database, proxy)
    proxy.usual = Fault(after_client=20_000)
    with pytest.raises(OnlineStoreUnavailableError, match=r"'view', Redis: .* -> check host and port"):
        attempt.run(view, retry_for=timedelta(0))
    fresh = direct.freshness(view)
    assert not fresh.is_materialized
    assert fresh.max_event_timestamp is None
    proxy.arm(Fault(after_client=8_000))
    with through(proxy) as client, pytest.raises(OnlineStoreUnavailableError, match="-> check host and port"):
        OnlineStore(client).push(view, pieces(scene), retry_for=timedelta(0))
    assert direct.freshness(view).watermark is None
    attempt.run(view)
    expected = model.run("full")
    check_counts(attempt.result, expected)
    check_online(direct, view, model)


def test_a_run_that_breaks_off_is_told_once(
    server: Server, proxy: Proxy, scene: Scene, project: str, direct: OnlineStore
) -> None:
    attempt = Attempt(scene.database, proxy)
    for _ in range(2):  # Redis has been told the script when it is measured
        attempt.run(scene.view(f"{project}000", "hash"), full=True, in_place=True)
    sent = attempt.passed[-1]  # when all rows were written
    writing, (_, answered) = max(enumerate(sent), key=lambda told: told[1])
    not_told = [Fault(after_server=number, since=COMMIT) for number in range(0, LAST_BYTES + 1, 4)]
    not_done = [Fault(after_server=answered + number) for number in range(200, 2000, 200)]  # within INFO
    for number, fault in enumerate([*not_told, *not_done], 1):
        view = scene.view(f"{project}{number:03}", "hash")
        proxy.arm(*[None] * writing, fault)
        with pytest.raises(OnlineStoreUnavailableError):
            attempt.run(view, full=True, in_place=True, retry_for=timedelta(0))
        assert len(direct.runs(view)) == 1
        assert direct.freshness(view).is_materialized == (fault in not_told)


def test_no_marker_is_left(server: Server, proxy: Proxy, scene: Scene, project: str, direct: OnlineStore) -> None:
    (connected, _), attempt = handshake(proxy), Attempt(scene.database, proxy)
    attempt.run(scene.view(f"{project}000", "hash"))
    asking = len(proxy.connections) - 1
    proxy.arm(*[None] * asking, Fault(after_client=connected + 10))
    view = scene.view(f"{project}001", "hash")
    attempt.run(view)
    assert list(server.client.scan_iter(f"{keyspace.run_key(view, '')}*")) == []


def calls_of(server: Server, command: str) -> int:
    """How often a command was called since the statistics were reset."""
    return int(server.client.info("commandstats")[f"cmdstat_{command}"]["calls"])


def check(online: OnlineStore, view: FeatureView, attempt: Attempt, expected: Any, model: Model) -> None:
    """The attempt has ended as if nothing had happened."""
    result = attempt.result
    assert result is not None
    check_counts(result, expected)
    check_online(online, view, model)
    assert online.freshness(view).watermark == result.watermark is not None
    assert result.watermark <= datetime.now(UTC)
    assert [run["outcome"] for run in online.runs(view) if run["run_id"] == result.run_id] == ["success"]
