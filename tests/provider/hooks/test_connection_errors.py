"""Errors about a connection name its id and host, and what is wrong with it; never a secret."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote, urlsplit

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException
from online_features.errors import OfflineStoreUnavailableError, OnlineStoreUnavailableError
from online_features_provider.operators.check import FeatureViewFreshnessCheckOperator
from online_features_provider.operators.materialize import MaterializeOperator

from tests.support.servers.databases import Database

pytestmark = pytest.mark.usefixtures("driver")

SECRET = "s3cr:et@/%"
NOWHERE = f"redis://:{quote(SECRET, safe='')}@127.0.0.1:1"


@pytest.fixture(autouse=True)
def connections(database: Database, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    database("CREATE TABLE rows AS SELECT 'a' AS id, now() AS ts, 1 AS x")
    postgres, redis = urlsplit(database.uri), urlsplit(redis_url)
    login = f"{postgres.username}:{postgres.password}"
    wrong = f"{postgres.username}:{quote(SECRET, safe='')}"
    for name, uri in {
        "offline_store": database.uri,
        "online_store": redis_url,
        "refused": f"postgresql://{wrong}@{postgres.hostname}:{postgres.port}{postgres.path}",
        "no_postgres": f"postgresql://{wrong}@127.0.0.1:1/features?connect_timeout=2",
        "no_redis": NOWHERE,
        "postgres_as_redis": f"redis://{login}@{postgres.hostname}:{postgres.port}",
        "redis_as_postgres": f"postgresql://{wrong}@{redis.hostname}:{redis.port}/x?connect_timeout=2",
        "wrong_password": f"redis://nobody:{quote(SECRET, safe='')}@{redis.hostname}:{redis.port}",
    }.items():
        monkeypatch.setenv(f"AIRFLOW_CONN_{name.upper()}", uri)


@pytest.mark.parametrize(
    "conn_ids, error, message",
    [
        ({"postgres_conn_id": "refused"}, AirflowFailException, "password authentication failed"),
        ({"postgres_conn_id": "no_postgres"}, OfflineStoreUnavailableError, "127.0.0.1:1.*Connection refused"),
        ({"redis_conn_id": "no_redis"}, OnlineStoreUnavailableError, "127.0.0.1:1.*Connection refused"),
        ({"redis_conn_id": "wrong_password"}, AirflowFailException, "check user and password"),
        ({"postgres_conn_id": "lost"}, AirflowFailException, "not defined in Airflow\n-> add it with type Postgres"),
        ({"redis_conn_id": "lost"}, AirflowFailException, "not defined in Airflow\n-> add it with type Redis"),
        ({"postgres_conn_id": "online_store"}, AirflowFailException, "has type redis, .* needs one of type Postgres"),
        ({"redis_conn_id": "offline_store"}, AirflowFailException, "has type postgres, .* needs one of type Redis"),
        ({"postgres_conn_id": "redis_as_postgres"}, AirflowFailException, "uses the protocol of Redis\n-> correct"),
        ({"redis_conn_id": "postgres_as_redis"}, AirflowFailException, "uses the protocol of Postgres\n-> correct"),
    ],
)
def test_an_error_about_a_connection_names_it(
    conn_ids: dict[str, str], error: type[Exception], message: str, make_view: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(error, match=f"(?s){message}") as raised:
        MaterializeOperator(task_id="m", feature_view=make_view(), retry_for="PT0S", **conn_ids).execute({})
    (conn_id,) = conn_ids.values()
    told = str(raised.value)
    assert told.startswith(f"connection {conn_id!r}")
    assert raised.value.__cause__ is None
    assert raised.value.__suppress_context__
    printed = capsys.readouterr().out
    lines = " ".join(line.partition("] ")[2].partition(" [airflow")[0] for line in printed.splitlines())
    assert " ".join(lines.split()).endswith(" ".join(told.split()))
    for secret in (SECRET, quote(SECRET, safe="")):
        assert secret not in told + printed


@pytest.mark.parametrize("conn_id, kind", [("offline_store", "has type postgres"), ("no_redis", "127.0.0.1:1")])
def test_a_check_names_its_connection_too(make_view: Any, conn_id: str, kind: str) -> None:
    check = FeatureViewFreshnessCheckOperator(
        task_id="c", feature_view=make_view(), redis_conn_id=conn_id, at_least="2026-01-01T00:00:00Z"
    )
    with pytest.raises((AirflowFailException, OnlineStoreUnavailableError), match=f"connection '{conn_id}'.*{kind}"):
        check.execute({})
