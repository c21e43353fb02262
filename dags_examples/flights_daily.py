"""Materialize day by day, for backfills and for sources without a created timestamp.

``CronDataIntervalTimetable`` gives each run the day before it. A plain cron expression would give it an empty interval.
"""

from __future__ import annotations

from datetime import UTC, datetime

from airflow.sdk import DAG
from airflow.timetables.interval import CronDataIntervalTimetable
from flights_views import plane_trips
from online_features_provider.operators.materialize import MaterializeOperator

with DAG(
    "flights_daily",
    schedule=CronDataIntervalTimetable("0 0 * * *", timezone="UTC"),
    start_date=datetime(2013, 1, 1, tzinfo=UTC),
    catchup=False,
) as dag:
    MaterializeOperator(task_id="materialize_day", feature_view=plane_trips, window="data_interval")
