"""Materialize each day as a partition, and say which days before it are missing (Airflow 3.2 or newer).

The key of a DAG run names its day. The asset event carries it, so ``flights_partition_report`` runs once for each day.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from airflow.sdk import DAG, CronPartitionTimetable, PartitionedAssetTimetable, task
from flights_views import plane_trips
from online_features_provider.assets.feature_view import feature_view_asset
from online_features_provider.operators.check import FeatureViewFreshnessCheckOperator
from online_features_provider.operators.materialize import MaterializeOperator

trips_by_day = replace(plane_trips, name="trips_by_day", max_staleness=None)

with DAG(
    "flights_partitions",
    # The run after midnight has the key of the day that has ended.
    schedule=CronPartitionTimetable("0 0 * * *", timezone="UTC", run_offset=-1, key_format="%Y-%m-%d"),
    start_date=datetime(2013, 1, 1, tzinfo=UTC),
    catchup=False,
):
    materialize = MaterializeOperator(
        task_id="materialize_day",
        feature_view=trips_by_day,
        window="partition",
        emit="always",  # also of a day all of whose rows are older than what is online
    )
    # The watermark stops before a day that is missing, and goes on when that day is materialized, too.
    check = FeatureViewFreshnessCheckOperator(
        task_id="no_day_is_missing",
        feature_view=trips_by_day,
        at_least="{{ ti.xcom_pull('materialize_day')['end'] }}",
        on_stale="warn",
    )
    materialize >> check

with DAG(
    "flights_partition_report",
    schedule=PartitionedAssetTimetable(assets=feature_view_asset(trips_by_day)),
    catchup=False,
):

    @task
    def report(dag_run: Any = None, triggering_asset_events: Any = None) -> dict[str, int]:
        """Return how many rows of the day went online."""
        events = [event for found in triggering_asset_events.values() for event in found]
        return {dag_run.partition_key: sum(event.extra["rows_written"] for event in events)}

    report()
