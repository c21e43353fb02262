"""DAGs that use operators in every way that the documentation names."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from airflow.sdk import DAG, Asset
from airflow.timetables.interval import CronDataIntervalTimetable
from online_features_provider.operators.materialize import MaterializeOperator
from online_features_provider.operators.push import PushOperator
from operator_views import daily, one, slow, two

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)

with DAG("mapped", schedule=None):
    MaterializeOperator.partial(task_id="views").expand(feature_view=[one, "operator_views.two"])
    MaterializeOperator.partial(task_id="named", feature_view=two, map_index_template="{{ task.window }}").expand(
        window=["full", "incremental"]
    )

with DAG("templated", schedule=None, params={"view": "one", "start": None, "prune": True}):
    MaterializeOperator(
        task_id="materialize",
        feature_view="operator_views.{{ params.view }}",
        redis_conn_id="{{ 'online' }}_store",
        window="{{ 'full' if not params.start else '' }}",
        start="{{ params.start }}",
        prune="{{ params.prune and not params.start }}",
    )
    PushOperator(task_id="push", feature_view=one, rows=[{"id": "pushed", "ts": datetime.now(UTC), "x": 7}])

with DAG("typo", schedule=None, default_args={"retries": 3, "retry_delay": timedelta(hours=1)}):
    MaterializeOperator(task_id="materialize", feature_view="operator_views.{{ 'onne' }}")

with DAG("daily", schedule=CronDataIntervalTimetable("@daily", timezone="UTC"), start_date=BEGIN, catchup=False):
    MaterializeOperator(task_id="materialize", feature_view=daily, window="data_interval")

with DAG("after_asset", schedule=[Asset("x://flights")]):
    MaterializeOperator(task_id="incremental", feature_view=one)
    MaterializeOperator(task_id="data_interval", feature_view=one, window="data_interval")

with DAG("slow", schedule=None, default_args={"retries": 1, "retry_delay": timedelta(hours=1)}):
    MaterializeOperator(task_id="materialize", feature_view=slow)

with DAG("timed_out", schedule=None):
    MaterializeOperator(task_id="materialize", feature_view=slow, execution_timeout=timedelta(seconds=2))
