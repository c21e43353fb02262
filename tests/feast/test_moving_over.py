"""A Feast repository moves over: what is exported from it and materialized by us is what Feast materializes."""

from __future__ import annotations

import json
import re
import runpy
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest
import redis
from airflow.sdk import DAG
from online_features import OfflineStore, OnlineStore, PostgresSource, materialize
from online_features.layouts.feast import feast_export
from online_features.layouts.feast.feast_repository import load_feature_views
from sqlalchemy.engine import URL, make_url

from demo.workplace import PROJECT
from tests.feast.conftest import FEASTS, OURS, content
from tests.feast.environment import ENVIRONMENT, HERE, feast_python
from tests.support.servers.databases import Database, new_database

pytestmark = pytest.mark.slow

FEAST = str(ENVIRONMENT / "bin" / "feast")
MOVED = {"driver_trips", "inferred", "shop_visits", "declared", "renamed", "renamed_query", "streamed"}
PYTHON = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
BEFORE, AFTER, MORE = PYTHON.findall((PROJECT / "docs" / "from-feast.md").read_text())


@dataclass(frozen=True)
class Repository:
    """A Feast repository that has been applied and materialized by Feast.

    :param folder: of its ``feature_store.yaml``, and of ``feature_views.json`` with what was exported from it.
    :param told: what the export said on standard error.
    :param rows: what Feast has written to Redis.
    """

    folder: Path
    database: Database
    told: str
    rows: dict[bytes, dict[bytes, bytes]]


@pytest.fixture(scope="module")
def repository(postgres_uri: str, redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Repository]:
    folder = tmp_path_factory.mktemp("feast") / "repository"
    shutil.copytree(HERE / "repository", folder)
    with redis.Redis.from_url(redis_url.replace("/0", f"/{FEASTS}")) as client, new_database(postgres_uri) as database:
        client.flushdb()
        database((folder / "tables.sql").read_text())
        configure(folder, make_url(database.uri), redis_url)
        in_feast(folder, FEAST, "apply")
        in_feast(folder, FEAST, "materialize", "2020-01-01", "2030-01-01", *(f"--views={name}" for name in MOVED))
        exported = in_feast(folder, feast_export.__file__, str(folder))
        (folder / "feature_views.json").write_text(exported.stdout)
        yield Repository(folder, database, exported.stderr, content(client))


def configure(folder: Path, postgres: URL, redis_url: str, **changed: object) -> None:
    """Write ``feature_store.yaml``: JSON is YAML."""
    where = make_url(redis_url)
    configuration = {
        "project": "moving", "provider": "local", "entity_key_serialization_version": 3,
        "registry": {"path": "registry.db", "enable_online_feature_view_versioning": True},
        "offline_store": {
            "type": "postgres", "host": postgres.host, "port": postgres.port, "database": postgres.database,
            "user": postgres.username, "password": postgres.password, "sslmode": "disable", "db_schema": "its_own",
        },
        "online_store": {
            "type": "redis", "connection_string": f"{where.host}:{where.port},db={FEASTS}", "key_ttl_seconds": 86400
        },
        **changed,
    }  # fmt: skip
    (folder / "feature_store.yaml").write_text(json.dumps(configuration))


def in_feast(folder: Path, *words: str, status: int = 0) -> subprocess.CompletedProcess[str]:
    environment = {"FEAST_USAGE": "False", "HOME": str(folder)}
    command = [feast_python(), "-W", "ignore", *words]
    done = subprocess.run(command, check=False, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == status, done.stderr
    return done


def dag_of(text: str, folder: Path) -> DAG:
    """The DAG of a file with this text in the folder."""
    (folder / "dag.py").write_text(text)
    dag: DAG = runpy.run_path(str(folder / "dag.py"))["dag"]
    return dag


@pytest.fixture
def connections(repository: Repository, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    url = make_url(repository.database.uri)
    postgres = {"conn_type": "postgres", "host": url.host, "port": url.port, "login": url.username,
                "password": url.password, "schema": url.database}  # fmt: skip
    monkeypatch.setenv("AIRFLOW_CONN_OFFLINE_STORE", json.dumps(postgres))
    where = make_url(redis_url)
    online = {"conn_type": "redis", "host": where.host, "port": where.port, "extra": {"db": OURS}}
    monkeypatch.setenv("AIRFLOW_CONN_ONLINE_STORE", json.dumps(online))


def test_the_guides_dag_writes_what_feast_writes(repository: Repository, connections: None, ours: redis.Redis) -> None:
    dag = dag_of(BEFORE, repository.folder)
    assert dag.task_ids == ["materialize"]
    dag = dag_of(AFTER, repository.folder)
    assert set(dag.task_ids) == {f"materialize_{name}" for name in MOVED}
    for task in dag.tasks:
        assert task.execute({})["rows_written"] > 0
    assert content(ours) == repository.rows


def test_definitions_move_over(repository: Repository) -> None:
    views = load_feature_views(repository.folder / "feature_views.json")
    assert set(views) == MOVED
    assert {(view.project, view.layout, view.feast.key_ttl) for view in views.values()} == {
        ("moving", "feast", timedelta(days=1))
    }
    trips = views["driver_trips"]
    assert trips.source == PostgresSource(
        table="trips", timestamp_field="event_timestamp", created_timestamp_column="created"
    )
    assert trips.ttl == timedelta(days=3650)
    assert trips.entities == ("driver_id",)
    assert trips.feast.types == {
        "driver_id": "Int64", "trip_count": "Int32", "rating": "Float64", "started": "UnixTimestamp",
        "event_timestamp": "UnixTimestamp",
    }  # fmt: skip
    assert views["shop_visits"].ttl is None
    assert views["shop_visits"].source.query == 'SELECT * FROM public."Visits" AS source'
    assert views["declared"].source.query == (
        "SELECT driver_id, event_timestamp, trip_count, rating, device, settings FROM trips WHERE trip_count > 0"
    )
    assert views["declared"].feast.types["device"] == "Uuid"
    assert views["renamed"].source == PostgresSource(
        query='SELECT "driver_id" AS "driver_id", "trip_count" AS "count", "rating" AS "rating", '
        '"event_timestamp" AS "at", "created" AS "written" FROM trips AS source',
        timestamp_field="at",
        created_timestamp_column="written",
    )


@pytest.mark.parametrize(
    "view, reason",
    [
        ("not_online", "it has online=False, so Feast does not materialize it"),
        ("disabled", "it is disabled, so Feast does not materialize it"),
        ("of_nobody", "it has no entity"),
        ("of_a_file", "its source is of type FileSource, not PostgreSQLSource"),
        ("mapped", "feature 'rating' is of type Map"),
        ("second", "its rows are those of version 2, and versions have rows of their own"),
        ("age_long", "its ttl is 40000 days; ttl=timedelta(0) lets rows live for ever"),
        ("transformed", "it has a transformation or aggregations"),
        ("derived", "its source is another feature view"),
        ("computed", "Feast makes the features of a view of type OnDemandFeatureView itself"),
    ],
)
def test_what_stays_behind_is_told(repository: Repository, view: str, reason: str) -> None:
    assert f"{view}: not carried over: {reason}\n" in repository.told


def test_a_search_path_is_told(repository: Repository) -> None:
    assert '{"options": "-c search_path=its_own,public"}' in repository.told


def test_a_repository_that_cannot_move_is_told(tmp_path: Path, database: Database, redis_url: str) -> None:
    configure(tmp_path, make_url(database.uri), redis_url, entity_key_serialization_version=2)
    done = in_feast(tmp_path, feast_export.__file__, str(tmp_path), status=1)
    assert done.stdout == ""
    assert "nothing carried over: entity_key_serialization_version is 2, not 3\n" in done.stderr


def test_a_view_that_was_loaded_is_told_more(repository: Repository, online: OnlineStore, ours: redis.Redis) -> None:
    names = {"trips": load_feature_views(repository.folder / "feature_views.json")["driver_trips"]}
    exec(MORE, names)
    assert materialize(names["trips"], OfflineStore(repository.database.uri), online).rows_deleted == 10
