"""Materialize within seconds of a commit to the table of flights."""

from __future__ import annotations

from airflow.sdk import DAG
from flights_views import plane_trips
from online_features_provider.assets.changes import source_changes
from online_features_provider.operators.materialize import MaterializeOperator

with DAG("flights_on_commit", schedule=[source_changes(plane_trips)], catchup=False, max_active_runs=1) as dag:
    MaterializeOperator(task_id="materialize", feature_view=plane_trips)
