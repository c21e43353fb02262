"""No password in anything that we raise or that Airflow keeps and prints, whatever goes wrong."""

from __future__ import annotations

import json
import traceback
import uuid
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import redis
from online_features import materialize
from online_features.embedded import reserved_port
from online_features.errors import OnlineFeaturesError
from online_features_provider.hooks.offline import OfflineStoreHook
from online_features_provider.hooks.online import OnlineStoreHook
from sqlalchemy.engine import make_url

from demo.airflow import DemoAirflow
from tests.support.servers.databases import Database

pytestmark = pytest.mark.airflow

CANARY = f"canary{uuid.uuid4().hex}"
PASSWORD = f"p@:/?#[]%20+&='\"\\{CANARY}é"  # in a URI, a DSN or a command, most of it has to be escaped

WAYS = ("right", "wrong_password", "wrong_user", "refused", "bad_host", "bad_extra")
PAIRS = [("right", "right"), *((way, "right") for way in WAYS[1:]), *(("right", way) for way in WAYS[1:])]

DAG_FILE = """
from datetime import timedelta
from airflow.sdk import DAG
from online_features import FeatureView, PostgresSource
from online_features_provider.operators.materialize import MaterializeOperator
from online_features_provider.sensors.freshness import FeatureViewFreshnessSensor

view = FeatureView(name="view", project={project!r}, entities=["id"],
                   source=PostgresSource(table="rows", timestamp_field="ts"))

with DAG("secrets", schedule=None) as dag:
    for postgres, redis in {pairs!r}:
        MaterializeOperator(task_id=f"from-{{postgres}}-to-{{redis}}", feature_view=view,
                            postgres_conn_id=f"postgres_{{postgres}}", redis_conn_id=f"redis_{{redis}}",
                            retry_for="PT1S")
    for redis in {ways!r}:
        FeatureViewFreshnessSensor(task_id=f"in-{{redis}}", feature_view=view, redis_conn_id=f"redis_{{redis}}",
                                   max_staleness=timedelta(days=1), timeout=1, poke_interval=0.1)
"""


@pytest.fixture
def role(database: Database) -> Iterator[str]:
    role = f"role_{uuid.uuid4().hex[:8]}"
    database(f"CREATE ROLE {role} LOGIN PASSWORD %s", PASSWORD)
    database("CREATE TABLE rows AS SELECT 'a' AS id, now() AS ts, 1 AS x")
    database(f"GRANT SELECT ON rows TO {role}")
    yield role
    database(f"DROP OWNED BY {role}")
    database(f"DROP ROLE {role}")


@pytest.fixture
def user(client: redis.Redis) -> Iterator[str]:
    user = f"user_{uuid.uuid4().hex[:8]}"
    client.execute_command("ACL", "SETUSER", user, "on", f">{PASSWORD}", "~*", "+@all")
    yield user
    client.acl_deluser(user)


@pytest.fixture
def nobodys_port() -> Iterator[int]:
    with reserved_port() as port:
        yield port


@pytest.fixture
def connections(database: Database, redis_url: str, role: str, user: str, nobodys_port: int) -> dict[str, str]:
    """A connection of each kind, and every way in which one can be wrong, as Airflow's environment variables."""
    postgres, online = make_url(database.uri), make_url(redis_url)
    right: dict[str, dict[str, Any]] = {
        "postgres": {
            "host": postgres.host, "port": postgres.port, "schema": postgres.database, "login": role,
            "password": PASSWORD, "extra": {"connect_timeout": 2, "sslpassword": PASSWORD},
        },
        "redis": {
            "host": online.host, "port": online.port, "login": user, "password": PASSWORD,
            "extra": {"socket_connect_timeout": 2, "db": online.database or 0},
        },
    }  # fmt: skip
    wrong: dict[str, dict[str, Any]] = {
        "right": {},
        "wrong_password": {"password": f"{PASSWORD}!"},
        "wrong_user": {"login": "nobody"},
        "refused": {"port": nobodys_port},
        "bad_host": {"host": "nowhere.invalid"},
        "bad_extra": {"extra": {"pasword": PASSWORD}},
    }
    return {
        f"AIRFLOW_CONN_{kind}_{way}".upper(): json.dumps({"conn_type": kind, **fields, **wrong[way]})
        for kind, fields in right.items()
        for way in WAYS
    }


@pytest.mark.parametrize("postgres, online", PAIRS)
def test_errors_hooks_and_stores_show_no_password(
    connections: dict[str, str], make_view: Any, monkeypatch: pytest.MonkeyPatch, postgres: str, online: str
) -> None:
    for name, connection in connections.items():
        monkeypatch.setenv(name, connection)
    hooks = OfflineStoreHook(f"postgres_{postgres}"), OnlineStoreHook(f"redis_{online}")
    shown = ""
    try:
        stores = hooks[0].get_store(), hooks[1].get_store()
        shown += repr(stores) + repr(hooks[1].get_conn()) + repr(hooks[1].address())
        materialize(make_view(), *stores, retry_for=timedelta(seconds=1))
    except OnlineFeaturesError as error:
        shown += "".join(traceback.format_exception(error)) + repr(error)
        assert (postgres, online) != ("right", "right")
    else:
        assert (postgres, online) == ("right", "right")
    shown += repr(hooks) + str([hook.test_connection() for hook in hooks])
    assert CANARY not in shown


def test_airflow_and_redis_keep_no_password(
    connections: dict[str, str], tmp_path: Path, project: str, redis_url: str
) -> None:
    airflow = DemoAirflow(tmp_path / "airflow", postgres_uri="", redis_url="", **connections)
    (tmp_path / "dags").mkdir()
    (tmp_path / "dags" / "secrets.py").write_text(DAG_FILE.format(project=project, pairs=PAIRS, ways=WAYS))
    airflow.environment["AIRFLOW__CORE__DAGS_FOLDER"] = str(tmp_path / "dags")
    airflow.run("db", "migrate")
    with pytest.raises(SystemExit):
        airflow.run("dags", "test", "secrets")
    kept = {path: path.read_bytes() for path in (tmp_path / "airflow").rglob("*") if path.is_file()}
    assert b"from-right-to-wrong_password" in kept[tmp_path / "airflow" / "airflow.db"]
    assert b"check user and password of the Redis connection" in kept[airflow.log]
    assert [path for path, content in kept.items() if CANARY.encode() in content] == []
    with redis.Redis.from_url(redis_url) as raw:
        keys = list(raw.scan_iter(f"*{project}*"))
        assert keys
        assert [key for key in keys if CANARY.encode() in (raw.dump(key) or b"")] == []
