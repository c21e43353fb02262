"""Sensors that defer, and checks, in runs of a DAG through Airflow's own command line."""

from __future__ import annotations

import time
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from online_features import FeatureView, OnlineStore, PostgresSource

from demo.airflow import DemoAirflow

pytestmark = pytest.mark.airflow

VIEWS = """
from online_features import FeatureView, PostgresSource

watched = FeatureView(
    name="watched", project="{project}", entities=["id"], features=["x"],
    source=PostgresSource(table="rows", timestamp_field="ts"),
)
"""
DAG = """
from airflow.sdk import DAG
from online_features_provider.operators.check import EntityFreshnessCheckOperator, FeatureViewFreshnessCheckOperator
from online_features_provider.sensors.freshness import EntityFreshnessSensor, FeatureViewFreshnessSensor
from watched_views import watched

with DAG("watching", schedule=None) as dag:
    of_view = FeatureViewFreshnessSensor(
        task_id="of_view", feature_view="watched_views.watched", max_staleness="PT1H", measure="event_timestamp",
        deferrable=True, poke_interval=1, timeout=120,
    )
    of_entities = EntityFreshnessSensor(
        task_id="of_entities", feature_view=watched, entities=[{"id": "a"}, {"id": "b"}], max_staleness=3600,
        deferrable=True, poke_interval=1, timeout=120,
    )
    checks = FeatureViewFreshnessCheckOperator.partial(
        task_id="checks", max_staleness="PT1H", measure="event_timestamp"
    ).expand(feature_view=[watched, "watched_views.watched"])
    sample = EntityFreshnessCheckOperator(task_id="sample", feature_view=watched, sample=5, share="{{ 0.5 }}")
    of_view >> of_entities >> [checks, sample]
"""


@pytest.fixture
def view(project: str) -> FeatureView:
    source = PostgresSource(table="rows", timestamp_field="ts")
    return FeatureView(name="watched", project=project, entities=["id"], features=["x"], source=source)


def push(online: OnlineStore, view: FeatureView, name: str, age: timedelta) -> None:
    online.push(view, [{"id": name, "ts": datetime.now(UTC) - age, "x": 1}])


def wait_until_said(airflow: DemoAirflow, words: str, run: Future[None]) -> None:
    while words not in airflow.log.read_text():
        assert not run.done(), airflow.log.read_text()[-3000:]
        time.sleep(0.5)


def test_deferred_sensors_go_on_when_rows_land(
    view: FeatureView, online: OnlineStore, redis_url: str, tmp_path: Path
) -> None:
    dags = tmp_path / "dags"
    dags.mkdir()
    (dags / "watched_views.py").write_text(VIEWS.format(project=view.project))
    (dags / "watching.py").write_text(DAG)
    airflow = DemoAirflow(
        tmp_path / "home", postgres_uri="postgresql://unused", redis_url=redis_url,
        AIRFLOW__CORE__DAGS_FOLDER=str(dags),
    )  # fmt: skip
    airflow.run("db", "migrate")
    push(online, view, "a", timedelta(hours=2))
    with ThreadPoolExecutor() as pool:
        run = pool.submit(airflow.run, "dags", "test", "watching")
        wait_until_said(airflow, "its newest event timestamp", run)
        push(online, view, "a", timedelta(0))
        wait_until_said(airflow, "1 missing: {'id': 'b'}", run)
        push(online, view, "b", timedelta(0))
        run.result(timeout=180)
    assert airflow.log.read_text().count("Pausing task as DEFERRED") == 2
