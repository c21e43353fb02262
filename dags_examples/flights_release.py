"""Go on after a rollback: start it by hand when the source is correct again; the next run builds anew."""

from __future__ import annotations

from airflow.sdk import DAG
from flights_views import airport_weather, plane_trips
from online_features_provider.operators.rollback import ReleaseOperator

with DAG("flights_release", schedule=None) as dag:
    ReleaseOperator(task_id="release", feature_views=[plane_trips, airport_weather])
