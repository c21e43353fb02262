"""Let readers see what was published before: start it by hand when bad data is online.

Until ``flights_release`` runs, increments are skipped and nothing new is published.
"""

from __future__ import annotations

from airflow.sdk import DAG
from flights_views import airport_weather, plane_trips
from online_features_provider.operators.rollback import RollbackOperator

with DAG("flights_rollback", schedule=None) as dag:
    RollbackOperator(task_id="roll_back", feature_views=[plane_trips, airport_weather])
