"""Build two feature views every night, publish them only if both pass their checks, and say which checks have failed.

A build that fails its checks is not published, so readers keep yesterday's rows of both views.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

from flights_views import airport_weather, plane_trips
from online_features import checks
from online_features_provider.airflow_dags import materialization_dag

if TYPE_CHECKING:
    from airflow.sdk import Context

log = logging.getLogger(__name__)

guarded_trips = replace(
    plane_trips,
    name="guarded_trips",
    max_staleness=None,
    checks=[
        checks.rows(at_least=1_000, change=0.2),
        checks.nulls("dep_delay", at_most=0.1, rise=0.03),
        checks.within("distance", 10, 5_000),
        checks.mean("dep_delay", shift=0.5),
        checks.newest_event(max_age=timedelta(days=3), not_in_future=True, not_older=True),
    ],
)

guarded_weather = replace(
    airport_weather,
    name="guarded_weather",
    max_staleness=None,
    checks=[
        checks.rows(at_least=3),
        checks.within("humid", 0, 100),
        checks.nulls("wind_gust", at_most=0.5, on_failure="warn"),
    ],
)


def say_failed_checks(context: Context) -> None:
    """Log the checks that have failed a task; a pager or a chat is called here in the same way."""
    task = context["ti"]
    for check in task.xcom_pull(task_ids=task.task_id, key="checks") or []:
        if check["outcome"] == "failed":
            log.error(
                "%s: check %s: expected %s, found %s, published %s",
                task.task_id, check["check"], check["expected"], check["found"], check["published"] or "nothing",
            )  # fmt: skip


dag = materialization_dag(
    [guarded_trips, guarded_weather],
    dag_id="flights_guarded",
    publish="together",
    verify={"sample": 1_000},
    schedule="0 4 * * *",
    default_args={"on_failure_callback": say_failed_checks},
)
