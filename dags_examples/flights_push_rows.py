"""Push a few rows as soon as they are known; no later run replaces them by older ones."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from airflow.sdk import DAG, task
from flights_views import plane_trips

with DAG("flights_push_rows", schedule=None, catchup=False) as dag:

    @task.push_features(feature_view=plane_trips)
    def landed() -> list[dict[str, Any]]:
        """Return two flights that have just landed; each feature is given, ``None`` for NULL."""
        now = datetime.now(UTC)
        return [
            {"tailnum": "N14228", "event_timestamp": now, "carrier": "UA", "flight": 1545, "origin": "EWR",
             "dest": "IAH", "dep_delay": 2, "arr_delay": 11, "distance": 1400},
            {"tailnum": "N24211", "event_timestamp": now, "carrier": "UA", "flight": 1714, "origin": "LGA",
             "dest": "IAH", "dep_delay": 4, "arr_delay": None, "distance": 1416},
        ]  # fmt: skip

    landed()
