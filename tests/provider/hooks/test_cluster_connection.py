"""A Redis Cluster, of one node, named in the extra of an Airflow connection: it is read, and not written to yet."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from online_features.embedded import HOST, reserved_port
from online_features_provider.hooks.online import OnlineStoreHook

from demo.workplace import workplace
from tests.conftest import at
from tests.support.servers.changing_login import GIVEN, PATH, ChangingLogin
from tests.support.servers.redis_servers import cluster

pytestmark = pytest.mark.oldest


@pytest.fixture(scope="module")
def cluster_port() -> Iterator[int]:
    with workplace("cluster") as folder, cluster(folder, masters=1, replicas=0) as servers:
        yield servers.nodes[0].port


def test_a_cluster_is_read_and_written_to(cluster_port: int, make_view: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    view = make_view()
    connection = {"conn_type": "redis", "host": HOST, "port": cluster_port, "extra": {"cluster": True}}
    monkeypatch.setenv("AIRFLOW_CONN_ONLINE_STORE", json.dumps(connection))

    async def awaited() -> Any:
        async with await OnlineStoreHook().aget_store() as store:
            return await store.freshness(view)

    assert OnlineStoreHook().test_connection() == (True, "Redis answers")
    assert OnlineStoreHook().get_store().freshness(view).is_materialized is False
    assert asyncio.run(awaited()).is_materialized is False
    assert OnlineStoreHook().get_store().push(view, [{"id": "a", "ts": at(1), "x": 1}]).rows_written == 1
    assert OnlineStoreHook().get_store().get_online_features(view, [{"id": "a"}])[0].values == {"x": 1}


def test_an_identity_logs_in_again_to_every_node(
    cluster_port: int, make_view: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    view, extra = make_view(), {"cluster": True, "credential_provider": PATH}
    connection = {"conn_type": "redis", "host": HOST, "port": cluster_port, "extra": extra}
    monkeypatch.setenv("AIRFLOW_CONN_ONLINE_STORE", json.dumps(connection))
    with redis.Redis(host=HOST, port=cluster_port) as administrator:
        GIVEN.provider = login = ChangingLogin([administrator])
        store = OnlineStoreHook().get_store()
        store.push(view, [{"id": "a", "ts": at(1), "x": 1}])
        login.expire()
        assert store.push(view, [{"id": "a", "ts": at(2), "x": 2}]).rows_written == 1
        login.expire()
        assert store.get_online_features(view, [{"id": "a"}])[0].values == {"x": 2}

        async def awaited() -> Any:
            async with await OnlineStoreHook().aget_store() as store:
                found = [await store.get_online_features(view, [{"id": "a"}])]
                login.expire()
                return [*found, await store.get_online_features(view, [{"id": "a"}])]

        assert [rows[0].values for rows in asyncio.run(awaited())] == [{"x": 2}] * 2


def test_a_cluster_that_does_not_answer_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with reserved_port() as nobodys:
        connection = {"conn_type": "redis", "host": HOST, "port": nobodys, "extra": {"cluster": True}}
        monkeypatch.setenv("AIRFLOW_CONN_ONLINE_STORE", json.dumps(connection))
        works, said = OnlineStoreHook().test_connection()
    assert works is False
    assert said.startswith("connection 'online_store', Redis: ")
