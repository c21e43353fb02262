"""Materialize two feature views every few minutes, then make sure that what is online is fresh."""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG
from flights_views import airport_weather, plane_trips
from online_features.operators.materialize import MaterializeOperator
from online_features.sensors.freshness import FeatureViewFreshnessSensor

with DAG("flights_features", schedule=timedelta(minutes=2), catchup=False, max_active_runs=1) as dag:
    for view in (plane_trips, airport_weather):
        materialize = MaterializeOperator(task_id=f"materialize_{view.name}", feature_view=view)
        fresh = FeatureViewFreshnessSensor(
            task_id=f"{view.name}_is_fresh",
            feature_view=view,
            max_staleness=timedelta(minutes=10),
            poke_interval=5,
            timeout=60,
        )
        materialize >> fresh
