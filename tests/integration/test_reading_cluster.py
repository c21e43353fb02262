"""A Redis Cluster of one node is read through redis-py's own pipeline, which knows the nodes."""

from __future__ import annotations

import asyncio
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis
import redis.asyncio
from online_features import AsyncOnlineStore, FeatureView, OnlineStore
from online_features.embedded import HOST, free_port, packaged_redis
from online_features.online import keyspace
from redis.cluster import ClusterNode

from tests.conftest import at

HIGHEST_PORT = 55_535  # the port of the cluster's bus is 10,000 above
SLOTS = range(16_384)


@pytest.fixture
def port(tmp_path: Path) -> Iterator[int]:
    port = next(port for port in iter(free_port, None) if port <= HIGHEST_PORT)
    command = [packaged_redis() / "redis-server", "--port", str(port), "--bind", HOST, "--dir", tmp_path, "--save", "",
               "--cluster-enabled", "yes", "--cluster-announce-ip", HOST]  # fmt: skip
    with (
        subprocess.Popen(command, stdout=subprocess.DEVNULL) as server,
        redis.Redis(host=HOST, port=port) as node,
    ):
        try:
            until(lambda: answers(node))
            node.cluster("ADDSLOTS", *SLOTS)
            until(lambda: node.cluster("INFO")["cluster_state"] == "ok")
            yield port
        finally:
            server.terminate()


def answers(node: redis.Redis) -> bool:
    try:
        return bool(node.ping())
    except redis.ConnectionError:
        return False


def until(is_so: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_cluster_is_read(
    make_view: Callable[..., FeatureView], online: OnlineStore, client: redis.Redis, port: int
) -> None:
    view = make_view()
    online.push(view, [{"id": f"e{i}", "ts": at(1), "x": i} for i in range(3)])
    asked = [{"id": f"e{i}"} for i in range(4)]
    expected = list(online.get_online_features(view, asked))
    with redis.RedisCluster(startup_nodes=[ClusterNode(HOST, port)]) as cluster:
        for key in [keyspace.state_key(view), *client.scan_iter(f"{view.project}:*")]:
            cluster.hset(key, mapping=client.hgetall(key))
        assert list(OnlineStore(cluster).get_online_features(view, asked)) == expected

    async def read() -> list[object]:
        async with AsyncOnlineStore(redis.asyncio.RedisCluster(host=HOST, port=port)) as store:
            return list(await store.get_online_features(view, asked))

    assert asyncio.run(read()) == expected
    assert [row.status for row in expected] == ["present"] * 3 + ["not_found"]
