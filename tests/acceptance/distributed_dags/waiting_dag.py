"""A full run in parts whose tasks wait for the test."""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG
from online_features import FeatureView, PostgresSource
from online_features_provider.airflow_dags import materialization_group
from waiting_transform import waiting

customers = FeatureView(
    name="customers",
    project="distributed",
    entities=["customer_id"],
    features=["orders", "spent", "city"],
    source=PostgresSource(table="customers", timestamp_field="event_timestamp", created_timestamp_column="created_at"),
    transform=waiting,
)

with DAG(
    "waiting",
    schedule=None,
    catchup=False,
    max_active_runs=1,
    default_args={"retries": 5, "retry_delay": timedelta(seconds=1)},
):
    materialization_group(customers, window="full", parts=6)
