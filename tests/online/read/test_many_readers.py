"""More readers, and producers, than a client has connections: they wait for each other."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import redis
import redis.asyncio
from online_features import AsyncOnlineStore, FeatureView, OnlineStore
from online_features.embedded import HOST
from online_features.errors import OnlineStoreUnavailableError
from online_features.online.read.entity_freshness_check import EntityFreshnessCheck
from online_features.online.redis import turns
from online_features_provider.hooks.online import OnlineStoreHook

from demo.workplace import workplace
from tests.conftest import at
from tests.support.servers.redis_servers import PASSWORD, PRIMARY, SENTINEL_PASSWORD, cluster, running, watched

pytestmark = pytest.mark.oldest

READERS = 500

MakeView = Callable[..., FeatureView]


@pytest.fixture(scope="module", params=["server", "sentinels", "cluster"])
def connection(request: pytest.FixtureRequest) -> Iterator[dict[str, Any]]:
    """An Airflow connection to a Redis of each kind."""
    with workplace("many") as folder:
        match request.param:
            case "server":
                with running(folder / "server") as server:
                    yield {"host": HOST, "port": server.port}
            case "sentinels":
                with watched(folder, sentinels=1) as servers:
                    extra = {
                        "sentinels": servers.addresses, "sentinel_master": PRIMARY,
                        "sentinel_password": SENTINEL_PASSWORD,
                    }  # fmt: skip
                    yield {"password": PASSWORD, "extra": extra}
            case "cluster":
                with cluster(folder, masters=3, replicas=0) as nodes:
                    yield {"host": HOST, "port": nodes.nodes[0].port, "extra": {"cluster": True}}


@pytest.fixture
def hook(connection: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> OnlineStoreHook:
    monkeypatch.setenv("AIRFLOW_CONN_ONLINE_STORE", json.dumps({"conn_type": "redis", **connection}))
    return OnlineStoreHook()


def rows(count: int) -> list[dict[str, Any]]:
    return [{"id": i, "ts": at(1), "x": i} for i in range(count)]


def in_threads(do: Callable[[int], Any], count: int = READERS) -> list[Any]:
    """What ``do`` returns in as many threads, all of which begin at once."""
    begin = threading.Barrier(count)

    def begun(i: int) -> Any:
        begin.wait()
        return do(i)

    with ThreadPoolExecutor(count) as threads:
        return [*threads.map(begun, range(count))]


def read_in_threads(store: OnlineStore, view: FeatureView) -> list[Any]:
    # All of them, so that every node of a cluster is asked.
    entities = [{"id": i} for i in range(20)]

    def read(i: int) -> Any:
        found = store.get_online_features(view, [*entities, {"id": i}])
        return [row.values["x"] for row in found][-1]

    return in_threads(read)


async def read_in_tasks(store: AsyncOnlineStore, view: FeatureView) -> list[Any]:
    entities = [{"id": i} for i in range(20)]

    async def read(i: int) -> Any:
        found = await store.get_online_features(view, [*entities, {"id": i}])
        return [row.values["x"] for row in found][-1]

    return await asyncio.gather(*map(read, range(READERS)))


def test_more_readers_than_connections_are_all_answered(hook: OnlineStoreHook, make_view: MakeView) -> None:
    view, store = make_view(), hook.get_store()
    store.push(view, rows(READERS))
    assert read_in_threads(store, view) == [*range(READERS)]

    async def read() -> list[Any]:
        async with await hook.aget_store() as awaited:
            return await read_in_tasks(awaited, view)

    assert asyncio.run(read()) == [*range(READERS)]


def test_readers_that_take_several_round_trips_do_not_wait_for_each_other_for_ever(
    hook: OnlineStoreHook, make_view: MakeView
) -> None:
    views = [make_view(name=f"view{i}") for i in range(3)]
    store = hook.get_store()
    for view in views:
        store.push(view, rows(20))
    check = EntityFreshnessCheck(view=views[0], entities=[{"id": i} for i in range(20)], sample=5)

    async def ask() -> list[Any]:
        async with await hook.aget_store() as awaited:
            vectors = (awaited.get_feature_vectors(views, [{"id": 3}], full_feature_names=True) for _ in range(READERS))
            return await asyncio.gather(*vectors, *(awaited.check(check) for _ in range(READERS)))

    answers = asyncio.run(ask())
    assert [answer[0].values["view2__x"] for answer in answers[:READERS]] == [3] * READERS
    assert len(answers) == 2 * READERS


def test_producers_and_readers_share_the_connections(hook: OnlineStoreHook, make_view: MakeView) -> None:
    view, store = make_view(), hook.get_store()
    store.push(view, rows(1))

    def act(i: int) -> Any:
        if i % 3:
            return store.get_online_features(view, [{"id": 0}])[0].values["x"]
        return store.push(view, rows(1)).rows_written - 1

    assert in_threads(act) == [0] * READERS


@pytest.mark.parametrize("store", [OnlineStore, AsyncOnlineStore])
def test_a_store_of_a_url_is_shared_by_any_number_of_readers(
    online: OnlineStore, redis_url: str, make_view: MakeView, store: Any
) -> None:
    view = make_view()
    online.push(view, rows(READERS))
    if store is OnlineStore:
        shared = store.from_url(redis_url)
        assert read_in_threads(shared, view) == [*range(READERS)]
        shared._client.close()
    else:

        async def read() -> list[Any]:
            async with store.from_url(redis_url) as shared:
                return await read_in_tasks(shared, view)

        assert asyncio.run(read()) == [*range(READERS)]


def test_readers_that_are_cancelled_while_they_wait_take_no_turn_with_them(
    online: OnlineStore, redis_url: str, make_view: MakeView
) -> None:
    view = make_view()
    online.push(view, rows(1))

    async def read() -> Any:
        async with AsyncOnlineStore(redis.asyncio.Redis.from_url(redis_url, max_connections=3)) as store:
            for steps in range(40):
                reading = [asyncio.create_task(store.freshness(view)) for _ in range(20)]
                for task in reading[::2]:
                    await asyncio.sleep(0)
                    task.cancel()
                    if steps % 2:
                        await asyncio.sleep(0)
                        task.cancel()
                await asyncio.wait(reading)
            return await asyncio.gather(*(store.get_online_features(view, [{"id": 0}]) for _ in range(20)))

    assert [found[0].values["x"] for found in asyncio.run(read())] == [0] * 20


def test_a_reader_who_has_waited_too_long_is_told_what_to_raise(
    online: OnlineStore, redis_url: str, make_view: MakeView, monkeypatch: pytest.MonkeyPatch
) -> None:
    view = make_view()
    online.push(view, rows(1))
    monkeypatch.setattr(turns, "WAIT_SECONDS", 0.1)
    cure = "Redis: of 1 connections at most, none was free for 0.1 seconds -> raise max_connections"
    with redis.Redis.from_url(redis_url, max_connections=1) as client, turns.turn(client):
        for act in (OnlineStore(client).freshness, OnlineStore(client).runs):
            with pytest.raises(OnlineStoreUnavailableError, match=cure):
                act(view)

    async def read() -> None:
        client = redis.asyncio.Redis.from_url(redis_url, max_connections=1)
        async with AsyncOnlineStore(client) as store, turns.turn_async(client):
            with pytest.raises(OnlineStoreUnavailableError, match=cure):
                await store.freshness(view)

    asyncio.run(read())


FORKED = """
import os, sys, redis
from online_features.online.redis import turns

turns.WAIT_SECONDS = 0.1
client = redis.Redis(max_connections=1)
with turns.turn(client), turns.turn(client, writes=True):
    if child := os.fork():
        sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    with turns.turn(client), turns.turn(client, writes=True):
        os._exit(7)
"""


def test_a_forked_process_has_all_turns() -> None:
    assert subprocess.run([sys.executable, "-c", FORKED], check=False).returncode == 7
