"""A Redis Cluster of one node is read through redis-py's own pipeline, which knows the nodes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

import pytest
import redis
import redis.asyncio
from online_features import AsyncOnlineStore, FeatureView, OnlineStore
from online_features.embedded import HOST

from demo.workplace import workplace
from tests.conftest import at
from tests.support.online import state_key
from tests.support.servers.redis_servers import Cluster, cluster


@pytest.fixture
def servers() -> Iterator[Cluster]:
    with workplace("cluster") as folder, cluster(folder, masters=1, replicas=0) as servers:
        yield servers


def test_a_cluster_is_read(
    make_view: Callable[..., FeatureView], online: OnlineStore, client: redis.Redis, servers: Cluster
) -> None:
    view = make_view()
    online.push(view, [{"id": f"e{i}", "ts": at(1), "x": i} for i in range(3)])
    asked = [{"id": f"e{i}"} for i in range(4)]
    expected = list(online.get_online_features(view, asked))
    with servers.client() as client_of_cluster:
        for key in [state_key(client, view), *client.scan_iter(f"{view.project}:*")]:
            client_of_cluster.hset(key, mapping=client.hgetall(key))
        assert list(OnlineStore(client_of_cluster).get_online_features(view, asked)) == expected

    async def read() -> list[object]:
        async with AsyncOnlineStore(redis.asyncio.RedisCluster(host=HOST, port=servers.nodes[0].port)) as store:
            return list(await store.get_online_features(view, asked))

    assert asyncio.run(read()) == expected
    assert [row.status for row in expected] == ["present"] * 3 + ["not_found"]
