"""A Feast repository beside ours: the same Postgres, and in Redis a database for each."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from online_features import FeatureView, OnlineStore

from tests.feast.environment import Feast, feast_process, feast_stores
from tests.support.servers.databases import Database

FEASTS, OURS = 14, 15  # databases of Redis


@pytest.fixture(scope="session")
def feast_driver(servers_folder: Path) -> Iterator[subprocess.Popen[str]]:
    with feast_process(servers_folder / "feast.log") as process:
        yield process


@pytest.fixture
def layout() -> str:
    return "feast"


@pytest.fixture
def stores(redis_url: str) -> Iterator[dict[int, redis.Redis]]:
    """Clients of Feast's and of our database, both empty."""
    clients = {number: redis.Redis.from_url(redis_url.replace("/0", f"/{number}")) for number in (FEASTS, OURS)}
    for client in clients.values():
        client.flushdb()
    yield clients
    for client in clients.values():
        client.close()


@pytest.fixture
def ours(stores: dict[int, redis.Redis]) -> redis.Redis:
    return stores[OURS]


@pytest.fixture
def online(ours: redis.Redis) -> OnlineStore:
    return OnlineStore(ours)


MakeFeast = Callable[..., Feast]


@pytest.fixture
def make_feast(
    feast_driver: subprocess.Popen[str], database: Database, stores: dict[int, redis.Redis], project: str
) -> MakeFeast:
    """Makes a Feast on a database of Redis (Feast's own by default); options go to its online store."""

    def make(number: int = FEASTS, **options: Any) -> Feast:
        where = stores[number].connection_pool.connection_kwargs
        redis_url = f"redis://{where['host']}:{where['port']}/{number}"
        return Feast(feast_driver, project=project, **feast_stores(database.uri, redis_url, **options))

    return make


@pytest.fixture
def feast(make_feast: MakeFeast) -> Feast:
    return make_feast()


def feast_view(view: FeatureView, entities: dict[str, str], features: dict[str, str], **more: Any) -> dict[str, Any]:
    """The view as the driver takes it.

    :param entities: join key to ``ValueType``.
    :param features: feature to type, as Feast prints it.
    """
    return {
        "name": view.name, "entities": entities, "features": features, "timestamp_field": view.source.timestamp_field,
        "query": view.source.query or f"SELECT * FROM {view.source.table}", **more,
    }  # fmt: skip


def content(client: redis.Redis) -> dict[bytes, dict[bytes, bytes]]:
    """Every key of Feast's, with its fields and values."""
    return {key: client.hgetall(key) for key in client.scan_iter(count=10_000) if not key.startswith(b"@online")}
