"""Build a large feature view anew every week, in parts that the workers of the executor share.

``plan`` divides the flights by planes, each of the mapped tasks ``part`` copies the planes of one part, and ``publish``
lets readers see all of them in one step.
"""

from __future__ import annotations

from airflow.sdk import DAG
from flights_views import plane_trips
from online_features_provider.airflow_dags import materialization_group

with DAG("flights_parts", schedule="0 4 * * 0", catchup=False, max_active_runs=1) as dag:
    materialization_group(plane_trips, window="full", parts=4)
