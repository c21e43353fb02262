"""Build two feature views anew every night, and publish them together.

Readers see yesterday's rows of both views, and then today's. In between, the increments of ``flights_features`` keep
what is published fresh.
"""

from __future__ import annotations

from flights_views import airport_weather, plane_trips
from online_features_provider.airflow_dags import materialization_dag

dag = materialization_dag(
    [plane_trips, airport_weather],
    dag_id="flights_nightly",
    publish="together",
    schedule="0 3 * * *",
)
