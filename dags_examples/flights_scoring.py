"""Wait until all that was in Postgres when the run began is online, then score.

The sensor waits in the triggerer, so it occupies no worker slot.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import DAG, task
from flights_views import plane_trips
from online_features_provider.hooks.online import OnlineStoreHook
from online_features_provider.sensors.freshness import FeatureViewFreshnessSensor

with DAG("flights_scoring", schedule=None, catchup=False) as dag:
    features_are_online = FeatureViewFreshnessSensor(
        task_id="features_are_online",
        feature_view=plane_trips,
        at_least="{{ dag_run.run_after.isoformat() }}",
        deferrable=True,
        poke_interval=5,
        timeout=timedelta(minutes=10),
    )

    @task
    def score() -> dict[str, Any]:
        """Return what a model makes of a plane's delays; here, their sum."""
        store = OnlineStoreHook(redis_conn_id="online_store").get_store()
        (row,) = store.get_online_features(plane_trips, [{"tailnum": "N14228"}], ["dep_delay", "arr_delay"])
        return {"tailnum": "N14228", "delay": sum(row.values.values())}

    features_are_online >> score()
