"""Materialize two feature views every few minutes, and fail if they are not fresh afterwards.

A check, not a sensor: only the next run makes features fresher, and it waits for this one to end.
"""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG
from flights_views import airport_weather, plane_trips
from online_features_provider.operators.check import FeatureViewFreshnessCheckOperator
from online_features_provider.operators.materialize import MaterializeOperator

with DAG("flights_features", schedule=timedelta(minutes=2), catchup=False, max_active_runs=1) as dag:
    for view in (plane_trips, airport_weather):
        materialize = MaterializeOperator(task_id=f"materialize_{view.name}", feature_view=view)
        is_fresh = FeatureViewFreshnessCheckOperator(task_id=f"{view.name}_is_fresh", feature_view=view)
        materialize >> is_fresh
