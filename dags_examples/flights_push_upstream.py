"""Push features that an upstream task returned."""

from __future__ import annotations

from typing import Any

from airflow.providers.postgres.hooks.postgres import PostgresHook
from airflow.sdk import DAG, task
from flights_views import carrier_delays
from online_features_provider.operators.push import PushOperator

LAST_DAY = """
    SELECT carrier, max(event_timestamp) AS event_timestamp, count(*) AS flights, avg(dep_delay)::float8 AS mean_delay
    FROM nycflights.flights, (SELECT max(event_timestamp) AS newest FROM nycflights.flights) AS last
    WHERE event_timestamp > newest - interval '1 day'
    GROUP BY carrier
"""

with DAG("flights_push_upstream", schedule=None, catchup=False) as dag:

    @task
    def delays() -> Any:
        """Return one row per carrier as a DataFrame: few enough for an XCom."""
        return PostgresHook("offline_store").get_df(LAST_DAY)

    PushOperator(task_id="push", feature_view=carrier_delays, rows=delays())
