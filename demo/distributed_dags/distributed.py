"""A full run in parts, on the workers of Airflow."""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG
from online_features import FeatureView, PostgresSource
from online_features_provider.airflow_dags import materialization_group

customers = FeatureView(
    name="customers",
    project="distributed",
    entities=["customer_id"],
    source=PostgresSource(table="customers", timestamp_field="event_timestamp", created_timestamp_column="created_at"),
)

# A worker that is lost costs a part of the run, which another worker copies again.
with DAG(
    "distributed",
    schedule=None,
    catchup=False,
    max_active_runs=1,
    params={"parts": 12},
    default_args={"retries": 3, "retry_delay": timedelta(seconds=1)},
    tags=["online features"],
):
    materialization_group(customers, window="full", parts="{{ params.parts }}")
