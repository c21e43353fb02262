"""DAGs that keep features fresh never wait for themselves."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from typing import Any

import psycopg2
import pytest
from airflow.sdk import BaseSensorOperator
from airflow.sdk.exceptions import AirflowFailException
from online_features import FeatureView
from online_features_provider.airflow_dags import materialization_dag

from tests.conftest import Database

MakeView = Callable[..., FeatureView]


@pytest.fixture
def view(database: Database, redis_url: str, make_view: MakeView, monkeypatch: pytest.MonkeyPatch) -> FeatureView:
    monkeypatch.setenv("AIRFLOW_CONN_OFFLINE_STORE", database.uri)
    monkeypatch.setenv("AIRFLOW_CONN_ONLINE_STORE", redis_url)
    database("CREATE TABLE rows AS SELECT 'a' AS id, now() AS ts, 1 AS x")
    return make_view(source={"created_timestamp_column": "ts"})


def test_an_open_transaction_costs_a_check_and_no_run(view: FeatureView, database: Database) -> None:
    def run(**options: Any) -> dict[str, Any]:
        dag = materialization_dag([view], schedule=None, **options)
        assert not any(isinstance(task, BaseSensorOperator) for task in dag.tasks)
        dag.get_task("view.materialize").execute({})
        measured: dict[str, Any] = dag.get_task("view.is_fresh").execute({})
        return measured

    with closing(psycopg2.connect(database.uri)) as session:
        session.cursor().execute("SELECT now()")
        with pytest.raises(AirflowFailException, match="required: a lag of at most 0:00:00"):
            run(max_staleness=timedelta(0))
        held = run(max_staleness=timedelta(0), on_stale="warn")["watermark"]
        assert run(max_staleness=timedelta(hours=1))["watermark"] == held
    assert run(max_staleness=timedelta(hours=1))["watermark"] > held
