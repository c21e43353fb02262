from __future__ import annotations

import asyncio
import json
import logging
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import redis
from airflow.providers.common.compat.sdk import AirflowFailException
from online_features import FeatureView, OnlineStore
from online_features.errors import OfflineAccessError, OnlineAccessError
from online_features_provider.hooks.offline import OfflineStoreHook
from online_features_provider.hooks.online import OnlineStoreHook
from online_features_provider.operators.materialize import MaterializeOperator
from online_features_provider.sensors.freshness import FeatureViewFreshnessSensor

from tests.support.servers.databases import Database

pytestmark = [pytest.mark.oldest, pytest.mark.usefixtures("driver")]


def test_what_airflows_own_hook_does_works_with_either_driver(connections: None, driver: str) -> None:
    hook = OfflineStoreHook()
    with closing(hook.get_conn()) as connection:
        assert type(connection).__module__.partition(".")[0] == driver
    assert [row["x"] for row in hook.get_records("SELECT 1 AS x")] == [1]
    hook.get_store().ping()


def test_the_offline_hook_hands_extras_to_libpq(connections: None, make_view: Any) -> None:
    query = "SELECT 'a' AS id, now() AS ts, current_setting('search_path') AS x"
    store = OfflineStoreHook(postgres_conn_id="offline_store").get_store()
    view = make_view(source={"query": query})
    schema = store.describe(view)
    from online_features.window import Window

    with store._source(view).snapshot(store._source(view).query_plan(schema, Window())) as snapshot:
        (batch,) = snapshot.batches(10)
    assert batch.column(2).to_pylist() == ["its+us,public"]


def test_the_online_hook_gives_a_store(connections: None, make_view: Any) -> None:
    store = OnlineStoreHook(redis_conn_id="online_store").get_store()
    assert store.freshness(make_view()).watermark is None


def test_operator_and_sensor_end_to_end(
    connections: None,
    database: Database,
    make_view: Any,
    online: OnlineStore,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    database("CREATE TABLE rows AS SELECT 'a' AS id, now() AS ts, 1 AS x")
    view: FeatureView = make_view()
    sensor = FeatureViewFreshnessSensor(
        task_id="s", feature_view=view, max_staleness=timedelta(minutes=1), fail_fast=False
    )
    assert not sensor.poke({})
    returned = MaterializeOperator(task_id="m", feature_view=view).execute({})
    assert sensor.poke({})
    json.dumps(returned)
    assert returned["rows_written"] == 1
    assert datetime.fromisoformat(returned["watermark"]) <= datetime.now(UTC)
    assert "password" not in str(returned)
    windowed = replace(view, name="windowed")
    window = {"start": "2001-01-01T00:00:00Z", "end": "2002-01-01T00:00:00Z"}
    database("INSERT INTO rows VALUES ('a', '2000-01-01', 1)")
    MaterializeOperator(task_id="w", feature_view=windowed, **window).execute({})
    with caplog.at_level(logging.INFO):
        assert not FeatureViewFreshnessSensor(task_id="s3", feature_view=windowed, max_staleness=timedelta.max).poke({})
    assert "run it once with window='incremental'" in caplog.text + capsys.readouterr().out
    stale = FeatureViewFreshnessSensor(task_id="s2", feature_view=view, max_staleness=timedelta(microseconds=1))
    assert not stale.poke({})


def test_what_no_retry_can_mend_fails_at_once(connections: None, make_view: Any) -> None:
    with pytest.raises(AirflowFailException, match="name an existing table"):
        MaterializeOperator(task_id="m", feature_view=make_view(source={"table": "nothing"})).execute({})


def test_what_a_retry_may_mend_is_left_to_retries(
    connections: None, database: Database, make_view: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    database("CREATE TABLE rows AS SELECT 'a' AS id, now() AS ts, 1 AS x")
    from online_features.errors import TransientError

    with monkeypatch.context() as patch:
        patch.setattr(redis.connection.Connection, "connect", _refuse)
        with pytest.raises(TransientError, match="check host and port"):
            MaterializeOperator(task_id="m", feature_view=make_view(), retry_for="PT0S").execute({})


def _refuse(*_: object, **__: object) -> None:
    raise redis.ConnectionError("Connection refused")


def test_a_database_where_airflow_does_not_look_for_it_is_not_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_ONLINE_STORE", "redis://localhost:6379/1")
    with pytest.raises(OnlineAccessError, match=r"write \?db=1 instead"):
        OnlineStoreHook(redis_conn_id="online_store").get_store()
    monkeypatch.setenv("AIRFLOW_CONN_ONLINE_STORE", "redis://localhost:6379/?db=1")
    client = OnlineStoreHook(redis_conn_id="online_store").get_store()._client
    assert client.connection_pool.connection_kwargs["db"] in (1, "1")


def test_a_trigger_gets_a_store_and_the_loop_is_not_blocked(connections: None, make_view: Any) -> None:
    async def read() -> Any:
        async with await OnlineStoreHook().aget_store() as store:
            return await store.freshness(make_view())

    assert asyncio.run(read()).is_materialized is False


def test_a_user_who_may_not_ping_is_answered(
    redis_url: str, client: redis.Redis, project: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.acl_setuser(project, enabled=True, passwords=["+word"], keys=["*"], commands=["+get", "+select"])
    monkeypatch.setenv("AIRFLOW_CONN_ONLINE_STORE", redis_url.replace("redis://", f"redis://{project}:word@"))
    assert OnlineStoreHook().test_connection() == (True, "Redis answers")
    client.acl_deluser(project)


def test_hooks_say_whether_their_connections_work(connections: None, monkeypatch: pytest.MonkeyPatch) -> None:
    assert OnlineStoreHook().test_connection() == (True, "Redis answers")
    assert OfflineStoreHook().test_connection() == (True, "Postgres answers")
    monkeypatch.setenv("AIRFLOW_CONN_ONLINE_STORE", "redis://localhost:1")
    works, message = OnlineStoreHook().test_connection()
    assert works is False
    assert message.startswith("connection 'online_store', Redis: ")
    assert message.endswith("-> check host and port, and that Redis runs")
    monkeypatch.setenv("AIRFLOW_CONN_ONLINE_STORE", "redis://localhost?sentinel=a")
    assert OnlineStoreHook().test_connection()[1].startswith("extra 'sentinel' of connection 'online_store'")
    for uri, said in {
        "postgresql://localhost:1/d": "connection 'offline_store' (Postgres at localhost:1): offline store: ",
        "postgresql://h/d?ssl_mode=require": "extra 'ssl_mode' of connection 'offline_store' is not a parameter",
        "redis://localhost": "connection 'offline_store' has type redis",
    }.items():
        monkeypatch.setenv("AIRFLOW_CONN_OFFLINE_STORE", uri)
        works, message = OfflineStoreHook().test_connection()
        assert (works, message.startswith(said), " -> " in message) == (False, True, True)


def test_an_extra_that_libpq_does_not_know_is_named(connections: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_OFFLINE_STORE", "postgresql://h/d?ssl_mode=require")
    with pytest.raises(OfflineAccessError, match="extra 'ssl_mode' of connection 'offline_store' is not a parameter"):
        OfflineStoreHook().get_store()
