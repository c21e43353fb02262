"""Push a DataFrame into the offline table and online, so that history and Redis agree."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from airflow.providers.postgres.hooks.postgres import PostgresHook
from airflow.sdk import DAG, task
from flights_views import airport_weather

# The last hours of each airport; in an hour without a gust, the gust is NULL.
RECENT = """
    SELECT weather.*
    FROM nycflights.weather, (SELECT max(event_timestamp) AS newest FROM nycflights.weather) AS last
    WHERE event_timestamp > newest - interval '6 hours'
"""

with DAG("flights_push_batch", schedule=None, catchup=False) as dag:

    @task.push_features(feature_view=airport_weather, mode="online_and_offline")
    def nowcast() -> Any:
        """Return the mean of the last hours as the weather to expect; the DataFrame stays in this task."""
        recent = PostgresHook("offline_store").get_df(RECENT)
        expected = recent.drop(columns=["event_timestamp", "created_at"]).groupby("origin", as_index=False).mean()
        return expected.round({"wind_dir": 0}).assign(event_timestamp=datetime.now(UTC))

    nowcast()
