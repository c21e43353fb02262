"""A Redis Cluster of three masters and their replicas is written: as one server is, while slots move and nodes die."""

from __future__ import annotations

import asyncio
import logging
import random
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from itertools import count
from typing import Any

import pytest
import redis.asyncio
from online_features import (
    AsyncOnlineStore,
    FeatureView,
    OfflineStore,
    OnlineStore,
    finish_build,
    materialize,
    materialize_part,
    plan_build,
)
from online_features.embedded import HOST
from online_features.errors import (
    NotReplicatedError,
    OnlineAccessError,
    OnlineStoreUnavailableError,
    PublishError,
    RollbackError,
)
from online_features.layouts import keyspace
from online_features.materialization.reporting.progress import Progress
from online_features.online.read._entity_sample import sample_online
from online_features.online.read.entity_freshness_check import EntityFreshnessCheck
from online_features.online.read.view_freshness_check import FreshnessResult
from online_features.online.redis import deployment_of
from online_features.online.redis.conversation import hold
from redis.crc import key_slot

from demo.workplace import workplace
from tests.conftest import at
from tests.support.online import key_of, state_key
from tests.support.processes import until
from tests.support.servers.databases import Database
from tests.support.servers.redis_servers import STEADY, Cluster, Server, cluster

pytestmark = [pytest.mark.oldest, pytest.mark.faults, pytest.mark.servers]

MakeView = Callable[..., FeatureView]

ENTITIES = 300
FILL = f"""
    INSERT INTO rows
    SELECT 'e' || mod(n, {ENTITIES}), '2026-01-01 01:00Z'::timestamptz + n * interval '1 second', '2026-01-01 02:00Z',
           mod(n, 29) = 0, n, 'y' || n
    FROM generate_series(1, {2 * ENTITIES}) AS n
"""
AT_ONCE = timedelta(0)


@pytest.fixture(scope="module")
def steady_servers() -> Iterator[Cluster]:
    with workplace("cluster") as folder, cluster(folder, *STEADY) as servers:
        yield servers


@pytest.fixture
def servers() -> Iterator[Cluster]:
    """A cluster of the test's own, to be damaged."""
    with workplace("damaged") as folder, cluster(folder) as servers:
        yield servers


@pytest.fixture
def table(database: Database) -> Database:
    database("CREATE TABLE rows (id text, ts timestamptz, created timestamptz, gone bool DEFAULT false, x int, y text)")
    database(FILL)
    return database


@pytest.fixture(params=["hash", "json", "feast"])
def view(request: pytest.FixtureRequest, make_view: MakeView) -> FeatureView:
    return view_in(make_view, request.param)


def view_in(make_view: MakeView, layout: str) -> FeatureView:
    source = {"created_timestamp_column": "created", "deleted_field": "gone"}
    return make_view(layout=layout, features=["x", "y"], source=source)


def online_rows(store: OnlineStore, view: FeatureView) -> list[Any]:
    return [
        (row.status, row.event_timestamp, row.values)
        for row in store.get_online_features(view, [{"id": f"e{n}"} for n in range(ENTITIES + 20)])
    ]


def counters(result: Any) -> dict[str, Any]:
    told = result.to_dict()
    return {name: told[name] for name in told if name.startswith("rows_") or name == "entities_pruned"}


def pushed(*numbers: int, hour: int = 20) -> list[dict[str, Any]]:
    return [{"id": f"e{n}", "ts": at(hour), "created": at(hour), "gone": False, "x": n, "y": "p"} for n in numbers]


def life(view: FeatureView, table: Database, offline: OfflineStore, online: OnlineStore) -> Iterator[Any]:
    """All that happens to a view, and what is told of it and online after each step."""
    yield counters(materialize(view, offline, online, batch_rows=100))
    table("INSERT INTO rows SELECT 'e' || n, %s, now(), false, -n, 'late' FROM generate_series(1, 50) AS n", at(15))
    yield counters(materialize(view, offline, online))
    yield counters(online.push(view, pushed(*range(40, 60))))
    yield counters(online.push(view, pushed(*range(40, 60), hour=3)))
    yield online.delete(view, [{"id": f"e{n}"} for n in range(45, 70)])
    yield counters(online.push(view, pushed(*range(40, 60))))
    table("DELETE FROM rows WHERE mod(x, 7) = 0")
    yield counters(materialize(view, offline, online, full=True, prune=True))
    yield online_rows(online, view)


def test_a_cluster_is_written_as_one_server_is(
    view: FeatureView,
    database: Database,
    table: Database,
    offline: OfflineStore,
    online: OnlineStore,
    steady_servers: Cluster,
) -> None:
    told = list(life(view, table, offline, online))
    table("TRUNCATE rows")
    table(FILL)
    with steady_servers.client() as client:
        assert list(life(view, table, offline, OnlineStore(client))) == told
        rows = sum(len(set(node.client.scan_iter(f"*{view.project}*"))) for node in steady_servers.nodes[:3])
    assert rows > ENTITIES


def test_several_processes_write_all_nodes(
    make_view: MakeView, table: Database, offline: OfflineStore, steady_servers: Cluster
) -> None:
    view = view_in(make_view, "msgpack")
    with steady_servers.client() as client:
        online = OnlineStore(client)
        expected = counters(materialize(view, offline, online))
        rows = online_rows(online, view)
        assert counters(materialize(view, offline, online, full=True, parallel=2)) == expected
        assert online_rows(online, view) == rows
        plan = plan_build(view, offline, online, parts=3)
        for part in plan.parts:
            materialize_part(part, offline, online)
        assert finish_build(plan, offline, online).rows_written == expected["rows_written"]
        assert online_rows(online, view) == rows


def test_another_layout_replaces_what_was_in_the_cluster(
    make_view: MakeView, table: Database, offline: OfflineStore, steady_servers: Cluster
) -> None:
    with steady_servers.client() as client:
        online = OnlineStore(client)
        before = view_in(make_view, "hash")
        materialize(before, offline, online)
        online.delete(before, [{"id": "e1"}])
        rows = online_rows(online, before)
        for layout in ("json", "feast", "hash"):
            changed = view_in(make_view, layout)
            materialize(changed, offline, online)
            assert online_rows(online, changed) == rows
        kinds = {client.type(key) for key in client.scan_iter(f"{before.project}:*")}
        assert kinds == {b"hash"}
    assert rows[1][0] == "not_found"


def test_what_is_online_is_sampled_from_all_nodes(view: FeatureView, steady_servers: Cluster) -> None:
    with steady_servers.client() as client:
        OnlineStore(client).push(view, pushed(*range(ENTITIES)))
        deployment = deployment_of(client)
        everything = hold(deployment, sample_online(view, ENTITIES + 1, deployment.primaries))
        assert sorted(entity["id"] for entity in everything) == sorted(f"e{n}" for n in range(ENTITIES))
        some = hold(deployment, sample_online(view, ENTITIES // 2, deployment.primaries))
        assert len({entity["id"] for entity in some}) == ENTITIES // 2
        found = OnlineStore(client).check(EntityFreshnessCheck(view=view, sample=ENTITIES + 1))
    assert found.measured["entities_fresh"] == ENTITIES

    async def find() -> FreshnessResult:
        port = steady_servers.nodes[0].port
        async with AsyncOnlineStore(redis.asyncio.RedisCluster(host=HOST, port=port)) as store:
            return await store.check(EntityFreshnessCheck(view=view, sample=ENTITIES + 1))

    assert asyncio.run(find()).measured["entities_fresh"] == ENTITIES


def test_a_client_of_one_node_is_told_what_is_missing(make_view: MakeView, steady_servers: Cluster) -> None:
    nodes = [OnlineStore(node.client) for node in steady_servers.nodes[:3]]
    view = make_view(features=["x"])
    for node in nodes:
        with pytest.raises(OnlineAccessError, match="give the store a RedisCluster"):
            node.push(view, [{"id": f"e{n}", "ts": at(1), "x": n} for n in range(50)])


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_slots_move_while_a_run_writes(
    view: FeatureView, table: Database, offline: OfflineStore, online: OnlineStore, steady_servers: Cluster, seed: int
) -> None:
    chance = random.Random(seed)
    materialize(view, offline, online)
    with steady_servers.client() as client:
        of_cluster = OnlineStore(client)
        of_cluster.push(view, pushed(*chance.sample(range(ENTITIES), 30), hour=0))
        slots = chance.sample(sorted({key_slot(key) for key in client.scan_iter(f"*{view.project}*")}), 20)
        masters = [node for node in steady_servers.nodes if node.is_primary]
        moves = []
        for slot in slots:
            source = steady_servers.owner(slot)
            target = chance.choice([node for node in masters if node is not source])
            moves.append(steady_servers.migration(slot, target))

        def move_slots() -> None:
            for move in moves:
                move.begin()
                time.sleep(0.02)
                move.finish()

        mover = threading.Thread(target=move_slots)

        def begin_to_move(progress: Progress) -> None:
            if not mover.ident:
                mover.start()

        result = materialize(view, offline, of_cluster, batch_rows=20, on_progress=begin_to_move)
        mover.join()
        assert result.rows_read == result.rows_written + result.rows_stale + result.rows_deleted
        assert online_rows(of_cluster, view) == online_rows(online, view)
    steady_servers.await_health()


def test_rows_of_a_slot_on_its_way_are_written_when_they_are_together(
    make_view: MakeView, steady_servers: Cluster
) -> None:
    view = make_view(features=["x"])
    slot_of: Callable[[int], int] = lambda n: key_slot(  # noqa: E731
        keyspace.entity_key(view, keyspace.FIRST_GENERATION, [str(n)]).encode()
    )
    erased, slot = 0, slot_of(0)
    other = next(n for n in count(1) if slot_of(n) == slot)
    rows = [{"id": n, "ts": at(1), "x": 1} for n in (erased, other)]
    with steady_servers.client() as client:
        online = OnlineStore(client)
        online.push(view, rows)
        assert online.delete(view, [{"id": erased}]) == 1
        source = steady_servers.owner(slot)
        target = next(node for node in steady_servers.nodes if node.is_primary and node is not source)
        move = steady_servers.migration(slot, target)
        move.begin()
        move.move(key_of(online, view, id=erased))
        assert online.push(view, rows[:1], retry_for=AT_ONCE).rows_stale == 1
        with pytest.raises(OnlineStoreUnavailableError, match="slots"):
            online.push(view, rows, retry_for=AT_ONCE)
        later = threading.Timer(0.5, move.finish)
        later.start()
        result = online.push(view, rows)
        assert (result.rows_written, result.rows_stale) == (1, 1)
        later.join()
        assert online.get_online_features(view, [{"id": erased}])[0].status == "not_found"
    steady_servers.await_health()


def test_a_row_is_asked_for_where_its_slot_is_going(make_view: MakeView, steady_servers: Cluster) -> None:
    view = make_view(features=["x"], layout="feast")
    with steady_servers.client() as client:
        online = OnlineStore(client)
        online.push(view, [{"id": "moved", "ts": at(1), "x": 1}])
        key = key_of(online, view, id="moved")
        source = steady_servers.owner(key_slot(key))
        target = next(node for node in steady_servers.nodes if node.is_primary and node is not source)
        move = steady_servers.migration(key_slot(key), target)
        move.begin()
        move.move(key)
        assert online.push(view, [{"id": "moved", "ts": at(2), "x": 2}], retry_for=AT_ONCE).rows_written == 1
        move.finish()
        assert online.get_online_features(view, [{"id": "moved"}])[0].values == {"x": 2}
    steady_servers.await_health()


def test_rows_are_created_where_their_slots_are_and_are_going(
    make_view: MakeView, table: Database, offline: OfflineStore, online: OnlineStore, steady_servers: Cluster
) -> None:
    view = replace(view_in(make_view, "json"), ttl=timedelta(days=36_500))
    expected = counters(materialize(view, offline, online))
    with steady_servers.client() as client:
        of_cluster = OnlineStore(client)
        moves = []
        for entity in (b"e2", b"e3"):
            source = steady_servers.owner(key_slot(entity))
            target = next(node for node in steady_servers.nodes if node.is_primary and node is not source)
            moves.append(steady_servers.migration(key_slot(entity), target))
        going, gone = moves
        going.begin()
        gone.begin()
        gone.finish()  # which the client does not know
        assert counters(materialize(view, offline, of_cluster)) == expected
        going.finish()
        assert online_rows(of_cluster, view) == online_rows(online, view)
    steady_servers.await_health()


def test_a_node_that_joins_is_written_to_before_it_has_a_slot(
    make_view: MakeView, table: Database, offline: OfflineStore, steady_servers: Cluster
) -> None:
    view = view_in(make_view, "feast")
    with workplace("joining") as folder, steady_servers.client(socket_timeout=3) as client:
        online = OnlineStore(client)
        online.push(view, pushed(1))
        key = key_of(online, view, id="e1")
        with steady_servers.joined(folder) as joined:
            move = steady_servers.migration(key_slot(key), joined)
            move.begin()
            move.move(key)
            assert online.push(view, pushed(1, hour=21), retry_for=AT_ONCE).rows_written == 1
            with pytest.raises(NotReplicatedError, match="0 of 1 replicas have the run's rows"):
                materialize(view, offline, online, wait_for_replicas=1, replica_timeout=timedelta(seconds=0.2))
            with joined.paused(), pytest.raises(OnlineStoreUnavailableError, match="Timeout"):
                online.push(view, pushed(1, hour=22), retry_for=AT_ONCE)
            move.give_up()


def test_what_is_erased_is_counted_once_though_a_node_has_forgotten_the_script(
    make_view: MakeView, steady_servers: Cluster
) -> None:
    view = make_view(features=["x"])
    entities = [{"id": f"e{n}"} for n in range(60)]
    with steady_servers.client() as client:
        online = OnlineStore(client)
        online.push(view, [{**entity, "ts": at(1), "x": 1} for entity in entities])
        assert online.delete(view, entities[:30]) == 30
        steady_servers.nodes[1].client.script_flush()
        assert online.delete(view, entities[30:]) == 30


def test_a_user_whom_the_cluster_no_longer_knows_is_told_so_at_once(
    make_view: MakeView, table: Database, offline: OfflineStore, steady_servers: Cluster
) -> None:
    view = view_in(make_view, "hash")
    for node in steady_servers.nodes:
        node.client.execute_command("ACL", "SETUSER", "writer", "on", ">secret", "~*", "+@all")
    with steady_servers.client(username="writer", password="secret") as client:

        def dismiss(_: Progress) -> None:
            for node in steady_servers.nodes:
                node.client.execute_command("ACL", "DELUSER", "writer")

        with pytest.raises(OnlineAccessError, match="check user and password"):
            materialize(view, offline, OnlineStore(client), batch_rows=20, on_progress=dismiss)


def test_a_master_dies_while_a_run_writes(
    make_view: MakeView, table: Database, offline: OfflineStore, online: OnlineStore, servers: Cluster,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    view = view_in(make_view, "hash")
    materialize(view, offline, online)
    victim = servers.nodes[1]
    with servers.client() as client:
        of_cluster = OnlineStore(client)

        def kill(progress: Progress) -> None:
            if progress.rows == 100 and victim.is_primary:
                victim.kill()

        result = materialize(view, offline, of_cluster, batch_rows=20, on_progress=kill)
        assert result.watermark is not None
        assert not victim.is_primary
        assert online_rows(of_cluster, view) == online_rows(online, view)
        assert [run["outcome"] for run in of_cluster.runs(view)] == ["success", "OnlineDataLostError"]
        # What the replica had not been given is online because the run began anew. After it, all is known again.
        with caplog.at_level(logging.INFO):
            assert materialize(view, offline, of_cluster).rows_read < ENTITIES
        assert "incremental run" in caplog.text


def replace_with_empty(servers: Cluster, *, but: Any) -> None:
    """Replace a primary by its replica, which has lost what it had.

    :param but: the primary to leave alone.
    """
    victim, *_ = (node for node in servers.nodes[:3] if node is not but)
    heir = servers.replica(victim)
    victim.kill()
    servers.await_health(but=(victim,))
    heir.client.flushall()


def test_a_server_that_was_replaced_between_runs_makes_the_next_one_full(
    make_view: MakeView, table: Database, offline: OfflineStore, servers: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    view = view_in(make_view, "hash")
    with servers.client() as client:
        online = OnlineStore(client)
        materialize(view, offline, online)
        rows = online_rows(online, view)
        replace_with_empty(servers, but=servers.owner(key_slot(state_key(client, view).encode())))
        with caplog.at_level(logging.INFO):
            materialize(view, offline, online)
        assert "Because a server of the cluster has restarted, failed over or joined" in caplog.text
        assert online_rows(online, view) == rows


def test_what_a_server_has_lost_is_neither_published_nor_gone_back_to(
    make_view: MakeView, table: Database, offline: OfflineStore, servers: Cluster
) -> None:
    view = view_in(make_view, "hash")
    with servers.client() as client:
        online = OnlineStore(client)
        materialize(view, offline, online)
        materialize(view, offline, online, full=True)
        rows = online_rows(online, view)
        materialize(view, offline, online, full=True, publish=False)
        replace_with_empty(servers, but=servers.owner(key_slot(state_key(client, view).encode())))
        with pytest.raises(PublishError, match="were written to other servers: .* -> build again"):
            online.publish([view])
        with pytest.raises(RollbackError, match="were written to other servers: .* -> build again"):
            online.rollback([view])
        assert materialize(view, offline, online, full=True).is_published
        assert online_rows(online, view) == rows


def test_a_cluster_that_is_down(
    make_view: MakeView, table: Database, offline: OfflineStore, servers: Cluster
) -> None:  # fmt: skip
    view = view_in(make_view, "hash")
    with servers.client() as client:
        online = OnlineStore(client)
        key = state_key(client, view)
        keeper = servers.owner(key_slot(key.encode()))
        victim = next(node for node in servers.nodes[:3] if node is not keeper)
        heir = servers.replica(victim)

        def kill(progress: Progress) -> None:
            if progress.rows == 100:
                heir.kill()
                victim.kill()

        with pytest.raises(OnlineStoreUnavailableError, match="feature view 'view', Redis: .* -> "):
            materialize(view, offline, online, batch_rows=20, on_progress=kill, retry_for=timedelta(seconds=2))
    keeper.client.config_set("cluster-require-full-coverage", "no")
    until(lambda: b"cluster_state:ok" in keeper.client.execute_command("CLUSTER", "INFO", NEVER_DECODE=True))
    assert b"watermark" not in keeper.client.hgetall(key)


def test_replicas_of_a_cluster_are_waited_for(
    make_view: MakeView, table: Database, offline: OfflineStore, servers: Cluster
) -> None:
    view = view_in(make_view, "hash")
    # A replica that is paused may be asked for the nodes, too, and is not waited for five seconds.
    with servers.client(socket_timeout=1) as client:
        online = OnlineStore(client)
        assert materialize(view, offline, online, wait_for_replicas=1).watermark is not None
        with servers.replica(servers.nodes[0]).paused():
            began = time.monotonic()
            with pytest.raises(NotReplicatedError, match="feature view 'view': 0 of 1 replicas have the run's rows"):
                materialize(view, offline, online, full=True, wait_for_replicas=1, replica_timeout=timedelta(seconds=1))
            assert time.monotonic() - began < 10
            # Nor is a connection that is lost while they are waited for an answer.
            cut = threading.Thread(target=cut_off_who_waits, args=[servers.nodes[0]])
            cut.start()
            with pytest.raises(NotReplicatedError):
                materialize(view, offline, online, full=True, wait_for_replicas=1, replica_timeout=timedelta(seconds=1))
            cut.join()


def cut_off_who_waits(server: Server) -> None:
    until(lambda: server.client.info("clients")["blocked_clients"] > 0)
    server.client.client_kill_filter(_type="normal")
