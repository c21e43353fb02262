"""The online store behind Sentinels, named in the extra of an Airflow connection."""

from __future__ import annotations

import asyncio
import json
import pickle
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from online_features.embedded import HOST
from online_features.errors import OnlineStoreUnavailableError
from online_features_provider.hooks.online import OnlineStoreHook

from demo.workplace import workplace
from tests.conftest import at
from tests.support.processes import until
from tests.support.servers.redis_servers import PASSWORD, PRIMARY, SENTINEL_PASSWORD, Watched, watched

pytestmark = [pytest.mark.oldest, pytest.mark.servers]


@pytest.fixture(scope="module")
def servers() -> Iterator[Watched]:
    with workplace("sentinel") as folder, watched(folder, sentinels=1) as servers:
        yield servers


@pytest.fixture
def connect(servers: Watched, monkeypatch: pytest.MonkeyPatch) -> Callable[..., OnlineStoreHook]:
    def connect(**changed: Any) -> OnlineStoreHook:
        extra = {"sentinels": servers.addresses, "sentinel_master": PRIMARY,
                 "sentinel_password": SENTINEL_PASSWORD, "db": 3, **changed}  # fmt: skip
        connection = {"conn_type": "redis", "password": PASSWORD, "extra": extra}
        monkeypatch.setenv("AIRFLOW_CONN_ONLINE_STORE", json.dumps(connection))
        return OnlineStoreHook()

    return connect


def test_rows_go_to_the_primary_and_are_read_back_by_both_stores(
    connect: Callable[..., OnlineStoreHook], servers: Watched, make_view: Any
) -> None:
    one_is_down = f"{HOST}:1,{servers.addresses}"
    view, hook = make_view(), connect(sentinels=one_is_down)
    hook.get_store().push(view, [{"id": "a", "ts": at(1), "x": 1}])

    async def read() -> Any:
        async with await hook.aget_store() as store:
            return await store.get_online_features(view, [{"id": "a"}])

    assert asyncio.run(read())[0].values == {"x": 1}
    assert servers.primary().client.info("keyspace")["db3"]["keys"] > 0


def test_a_copy_of_a_store_asks_the_same_sentinels(
    connect: Callable[..., OnlineStoreHook], servers: Watched, make_view: Any
) -> None:
    view, store = make_view(), connect().get_store()
    store.push(view, [{"id": "a", "ts": at(1), "x": 1}])
    copy = pickle.loads(pickle.dumps(store))
    assert copy.get_online_features(view, [{"id": "a"}])[0].values == {"x": 1}


def test_a_failover_is_followed(connect: Callable[..., OnlineStoreHook], servers: Watched, make_view: Any) -> None:
    view, store = make_view(), connect().get_store()
    store.push(view, [{"id": "a", "ts": at(1), "x": 1}])
    before = servers.primary()
    before.client.wait(1, 5_000)
    servers.fail_over()
    until(lambda: not before.is_primary)

    def pushed() -> bool:
        try:
            store.push(view, [{"id": "b", "ts": at(1), "x": 2}])
        except OnlineStoreUnavailableError:
            return False
        return True

    until(pushed)
    assert [row.values["x"] for row in store.get_online_features(view, [{"id": "a"}, {"id": "b"}])] == [1, 2]
    assert servers.primary() is not before


@pytest.mark.parametrize("changed, message", [
    ({"sentinel_master": "other"}, "No master found for 'other'.* -> check addresses and login of the Sentinels"),
    ({"sentinel_password": "wrong"}, "No master found for 'main'.*(AuthenticationError|WRONGPASS)"),
])  # fmt: skip
def test_what_is_wrong_is_named(connect: Callable[..., OnlineStoreHook], changed: Any, message: str) -> None:
    works, said = connect(**changed).test_connection()
    assert works is False
    assert re.search(message, said), said
    assert SENTINEL_PASSWORD not in said
