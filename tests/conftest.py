"""Real servers for all tests, and for each test a database and a key prefix of its own."""

from __future__ import annotations

import itertools
import json
import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import redis
from hypothesis import HealthCheck, settings
from online_features import FeatureView, OfflineStore, OnlineStore, PostgresSource
from online_features.common.batches import batched
from online_features.embedded import embedded_postgres, embedded_redis, postgres_server, redis_server
from online_features.feature_view import LAYOUTS
from online_features.online.redis.deployment import KEYS_PER_CALL
from sqlalchemy.engine import make_url

from demo.workplace import workplace
from tests.support.postgres_values import ADDRESS, TYPES
from tests.support.servers import programs
from tests.support.servers.databases import Database, DatabasePool

NUMBER = itertools.count()

# How long an example takes is for the machine, and nothing that these tests are about.
settings.register_profile("any pace", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any pace")


@pytest.fixture(scope="session")
def servers_folder() -> Iterator[Path]:
    with workplace("tests") as folder:
        yield folder


@pytest.fixture(scope="session")
def postgres_uri(servers_folder: Path) -> Iterator[str]:
    named = programs.POSTGRES
    server = embedded_postgres(servers_folder, Path(named)) if named else postgres_server(servers_folder)
    with server as uri:
        yield uri


@pytest.fixture(scope="session")
def redis_url(servers_folder: Path) -> Iterator[str]:
    named = programs.REDIS
    server = embedded_redis(servers_folder, programs.redis_program()) if named else redis_server(servers_folder)
    with server as url:
        yield url


@pytest.fixture(scope="session")
def databases(postgres_uri: str) -> Iterator[DatabasePool]:
    with closing(DatabasePool(postgres_uri)) as databases:
        yield databases


@pytest.fixture
def database(databases: DatabasePool) -> Iterator[Database]:
    with databases.one() as database:
        yield database


@pytest.fixture
def typed(database: Database) -> Database:
    """A database with the types of users that :data:`VALUES` needs."""
    database(TYPES + ADDRESS)
    return database


@pytest.fixture
def offline(database: Database) -> OfflineStore:
    return OfflineStore(database.uri)


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        yield client


@pytest.fixture
def online(redis_url: str) -> Iterator[OnlineStore]:
    with redis.Redis.from_url(redis_url) as client:
        yield OnlineStore(client)


@pytest.fixture
def project(redis_url: str) -> Iterator[str]:
    """A name in all keys of one test, which are gone after it: scans of later tests need not pass them by."""
    name = f"test{next(NUMBER)}_{uuid.uuid4().hex[:8]}"
    yield name
    with redis.Redis.from_url(redis_url) as client:
        for keys in batched(client.scan_iter(f"*{name}*", count=10_000), KEYS_PER_CALL):
            client.unlink(*keys)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out modules without marker ``oldest`` where only those run: they import what the oldest libraries lack."""
    if config.option.markexpr != "oldest" or not collection_path.match("test_*.py"):
        return None
    return "pytest.mark.oldest" not in collection_path.read_text(encoding="utf-8") or None


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test with each of the layouts that its marker ``layouts`` names, or with all of them.

    Of these, ``TEST_LAYOUTS`` may choose some.
    """
    marker = metafunc.definition.get_closest_marker("layouts")
    if marker and "layout" in metafunc.fixturenames:
        named = marker.args or LAYOUTS
        chosen = os.environ.get("TEST_LAYOUTS", "").split()
        metafunc.parametrize("layout", [layout for layout in named if layout in chosen] or named)


@pytest.fixture
def layout() -> str:
    """The layout of the test's views, if no marker names others."""
    return "hash"


@pytest.fixture
def make_view(project: str, layout: str) -> Callable[..., FeatureView]:
    """Makes feature views on table ``rows`` with entity ``id`` and event timestamp ``ts``, or as the test says."""

    def make(*, source: dict[str, Any] | None = None, **changed: Any) -> FeatureView:
        where = {"table": "rows", "timestamp_field": "ts", **(source or {})}
        if "query" in where:
            del where["table"]
        return FeatureView(
            **{
                "name": "view",
                "project": project,
                "entities": ["id"],
                "source": PostgresSource(**where),
                "layout": layout,
                **changed,
            }
        )

    return make


@pytest.fixture
def connections(database: Database, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Airflow's connections ``offline_store`` and ``online_store``."""
    url = make_url(database.uri)
    monkeypatch.setenv(
        "AIRFLOW_CONN_OFFLINE_STORE",
        json.dumps({
            "conn_type": "postgres", "host": url.host, "port": url.port, "login": url.username,
            "password": url.password, "schema": url.database,
            "extra": {"options": "-c search_path=its+us,public", "connect_timeout": 5, "cursor": "dictcursor"},
        }),
    )  # fmt: skip
    monkeypatch.setenv("AIRFLOW_CONN_ONLINE_STORE", redis_url)


def at(hour: int, minute: int = 0, day: int = 1) -> datetime:
    """An instant of January 2026."""
    return datetime(2026, 1, day, hour, minute, tzinfo=UTC)
