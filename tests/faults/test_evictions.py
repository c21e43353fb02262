"""A Redis that evicts keys when its memory is full: nothing is claimed that it may have taken."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
import redis
from online_features import FeatureView, OfflineStore, OnlineStore, Progress, materialize
from online_features.embedded import HOST
from online_features.errors import OnlineDataLostError, OnlineStoreFullError
from online_features.online.redis.servers import Server as Life
from online_features.online.redis.servers import evicted_since

from demo.workplace import workplace
from tests.conftest import at
from tests.support.online import state_key
from tests.support.processes import until
from tests.support.servers.databases import Database
from tests.support.servers.redis_servers import Cluster, Server, cluster, running

pytestmark = [pytest.mark.faults, pytest.mark.servers]

MakeView = Callable[..., FeatureView]

ROWS = 20_000
FOR_ROWS = 1_500_000  # bytes, besides those of an empty server: fewer than a third of the rows need
ROOM = 100_000_000
NO_RETRY = timedelta(0)


@pytest.fixture(scope="module")
def one_server() -> Iterator[Server]:
    with workplace("evictions") as folder, running(folder / "one") as server:
        yield server


@pytest.fixture
def server(one_server: Server) -> Server:
    for name, value in (("maxmemory", 0), ("maxmemory-policy", "noeviction")):
        one_server.client.config_set(name, value)
    one_server.client.flushall()
    one_server.client.config_resetstat()
    return one_server


@pytest.fixture
def online(server: Server) -> Iterator[OnlineStore]:
    with redis.Redis(host=HOST, port=server.port) as client:
        yield OnlineStore(client)


@pytest.fixture
def rows(database: Database) -> Database:
    database(f"CREATE TABLE rows AS SELECT 'e' || i AS id, now() AS ts, repeat('x', 100) AS x "
             f"FROM generate_series(1, {ROWS}) i")  # fmt: skip
    return database


def evicting(server: Server, policy: str, room: int = FOR_ROWS) -> None:
    server.client.config_set("maxmemory-policy", policy)
    server.client.config_set("maxmemory", server.client.info("memory")["used_memory"] + room)


def evict_rows(server: Server) -> None:
    """Have rows evicted that expire."""
    before = server.client.info("stats")["evicted_keys"]
    server.client.config_set("maxmemory", server.client.info("memory")["used_memory"] - FOR_ROWS // 2)
    until(lambda: server.client.info("stats")["evicted_keys"] > before)


def present(online: OnlineStore, view: FeatureView) -> int:
    """How many entities of the source are online."""
    found = online.get_online_features(view, [{"id": f"e{i}"} for i in range(1, ROWS + 1)])
    return sum(row.status == "present" for row in found)


def evict_others(server: Server) -> None:
    """Have keys evicted that expire and are nobody's."""
    room = server.client.info("memory")["used_memory"]
    server.client.config_set("maxmemory", room + 1_000_000)
    before = server.client.info("stats")["evicted_keys"]
    i = 0
    while server.client.info("stats")["evicted_keys"] <= before:
        server.client.set(f"another application's {i}", "x" * 10_000, ex=3600)
        i += 1


@pytest.mark.layouts
@pytest.mark.parametrize("policy", ["allkeys-lru", "allkeys-random", "volatile-ttl"])
def test_a_run_whose_rows_are_evicted_claims_nothing_and_says_so_once(
    server: Server, rows: Database, offline: OfflineStore, online: OnlineStore, make_view: MakeView, policy: str,
    layout: str, caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    more: dict[str, Any] = {"ttl": timedelta(days=1)} if policy == "volatile-ttl" else {}
    if more and layout == "feast":
        from online_features.feature_view import FeastOptions

        more = {"feast": FeastOptions(key_ttl=timedelta(days=1))}
    view = make_view(**more)
    evicting(server, policy)
    message = rf"Redis evicted [\d,]+ keys while .*maxmemory-policy {policy}.* -> raise maxmemory"
    with pytest.raises(OnlineStoreFullError, match=message):
        # In one batch: a build looks after each whether it has to stop before the memory is full.
        materialize(view, offline, online, batch_rows=ROWS)
    assert "again in" not in caplog.text
    assert online.freshness(view).watermark is None
    server.client.config_set("maxmemory", ROOM)
    assert materialize(view, offline, online).rows_read == ROWS
    assert online.freshness(view).watermark is not None


@pytest.mark.parametrize("policy", ["volatile-random", "allkeys-lru", "noeviction"])
def test_keys_that_were_evicted_between_runs_make_the_next_one_full(
    server: Server, rows: Database, offline: OfflineStore, online: OnlineStore, make_view: MakeView, policy: str,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    view = make_view(ttl=timedelta(days=1), source={"created_timestamp_column": "ts"})
    evicting(server, "volatile-random", ROOM)
    materialize(view, offline, online)
    assert materialize(view, offline, online).rows_read < ROWS
    evict_rows(server)
    assert present(online, view) < ROWS
    evicting(server, policy, ROOM)
    with caplog.at_level(logging.INFO):
        assert materialize(view, offline, online).rows_read == ROWS
    assert "Because Redis has evicted" in caplog.text
    assert present(online, view) == ROWS
    assert materialize(view, offline, online).rows_read < ROWS


def test_keys_of_others_that_expire_are_no_rows_of_a_view_without_a_ttl(
    server: Server, rows: Database, offline: OfflineStore, online: OnlineStore, make_view: MakeView
) -> None:
    view = make_view(source={"created_timestamp_column": "ts"})
    evicting(server, "volatile-lru", ROOM)
    result = materialize(view, offline, online, batch_rows=5_000)
    evict_others(server)
    assert materialize(view, offline, online).rows_read < ROWS
    assert online.freshness(view).watermark is not None is not result.watermark


def test_a_mark_of_a_run_that_was_evicted_is_told_from_a_flush(
    server: Server, rows: Database, offline: OfflineStore, online: OnlineStore, make_view: MakeView
) -> None:
    view = make_view()
    evicting(server, "volatile-lru", ROOM)
    marks: list[bytes] = []

    def evict_the_mark(progress: Progress) -> None:
        if progress.rows < ROWS:  # rows that follow would not find room
            return
        for key in server.client.scan_iter(match="@online_features:run:*", count=100_000):
            server.client.delete(key)
            marks.append(key)
        evict_others(server)

    with pytest.raises(OnlineStoreFullError, match="Redis evicted .* maxmemory-policy volatile-lru"):
        materialize(view, offline, online, on_progress=evict_the_mark)
    assert len(marks) == 1


def test_evictions_that_begin_with_the_last_row_are_found_at_the_end(
    server: Server, rows: Database, offline: OfflineStore, online: OnlineStore, make_view: MakeView
) -> None:
    def fill(_: object) -> None:
        evicting(server, "allkeys-random", -FOR_ROWS // 2)
        until(lambda: server.client.info("stats")["evicted_keys"] > 0)

    view = make_view()
    with pytest.raises(OnlineStoreFullError, match="Redis evicted .* maxmemory-policy allkeys-random"):
        materialize(view, offline, online, on_progress=fill, retry_for=NO_RETRY)
    assert online.freshness(view).watermark is None


def test_a_user_who_may_not_ask_is_told_what_remains_unknown(
    server: Server, rows: Database, offline: OfflineStore, make_view: MakeView, caplog: pytest.LogCaptureFixture
) -> None:
    server.client.execute_command("ACL SETUSER", "writer", "reset", "on", ">word", "~*", "+@all", "-info")
    view = make_view()
    with redis.Redis(host=HOST, port=server.port, username="writer", password="word") as client:
        materialize(view, offline, OnlineStore(client))
        assert "does not report by INFO whether it evicts keys" in caplog.text
        with pytest.raises(OnlineDataLostError, match="flushed or restored, or has evicted keys"):
            materialize(
                view, offline, OnlineStore(client), full=True, retry_for=NO_RETRY,
                on_progress=lambda _: server.client.flushall(),
            )  # fmt: skip


@contextmanager
def three_nodes() -> Iterator[Cluster]:
    with workplace("evicting_cluster") as folder, cluster(folder, masters=3, replicas=0) as nodes:
        yield nodes


def test_any_node_of_a_cluster_may_have_evicted_rows(
    rows: Database, offline: OfflineStore, make_view: MakeView, caplog: pytest.LogCaptureFixture
) -> None:
    view = make_view(ttl=timedelta(days=1), source={"created_timestamp_column": "ts"})
    with three_nodes() as nodes, nodes.client() as client:
        online = OnlineStore(client)
        state_node = nodes.owner(client.keyslot(state_key(client, view)))
        other = next(node for node in nodes.nodes if node is not state_node)
        evicting(other, "volatile-random")
        with pytest.raises(OnlineStoreFullError, match="Redis evicted .* maxmemory-policy volatile-random"):
            materialize(view, offline, online)
        assert online.freshness(view).watermark is None
        other.client.config_set("maxmemory", ROOM)
        materialize(view, offline, online)
        assert present(online, view) == ROWS
        evict_rows(other)
        assert present(online, view) < ROWS
        other.client.config_set("maxmemory", ROOM)
        with caplog.at_level(logging.INFO):
            materialize(view, offline, online)
        assert "Because Redis has evicted" in caplog.text
        assert present(online, view) == ROWS


@pytest.mark.parametrize("before, now, since", [
    ({"a": 5}, {"a": 5}, 0),
    ({"a": 5}, {"a": 9}, 4),
    ({"a": 5}, {"a": 2}, 2),  # reset
    ({"a": 5}, {"b": 3}, 3),  # another life
    ({"a": 5, "b": 1}, {"a": 6, "b": 3}, 3),
    ({}, {"a": None}, 0),
])  # fmt: skip
def test_evictions_are_counted_by_server(before: dict[str, int], now: dict[str, int | None], since: int) -> None:
    servers = [Life(identity=name, evicted=count) for name, count in now.items()]
    assert evicted_since(before, servers) == since


@pytest.mark.parametrize("layout", ["hash"])
def test_an_evicted_count_that_is_damaged_is_named(online: OnlineStore, make_view: MakeView) -> None:
    view = make_view()
    online.push(view, [{"id": "a", "ts": at(1), "x": 1}])
    online._client.hset(state_key(online._client, view), "evicted", '{"a": "many"}')
    with pytest.raises(Exception, match="is damaged"):
        online.state(view)
