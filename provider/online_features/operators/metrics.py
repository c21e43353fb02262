"""What became of rows, as Airflow metrics."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Literal

from airflow.providers.common.compat.sdk import Stats

if TYPE_CHECKING:
    from online_features.appending import AppendResult
    from online_features.counters import RowCounts
    from online_features.feature_view import FeatureView

PREFIX = "online_features"
GAUGES = ("watermark", "max_event_timestamp")


def emit(work: Literal["materialize", "push"], view: FeatureView, result: RowCounts | AppendResult) -> None:
    """Count the rows and time the work; of instants the metrics have the seconds since 1970.

    Their tags are the project and name of the view.
    """
    tags = {"project": view.project, "feature_view": view.name}
    for name, value in asdict(result).items():
        if name.startswith("rows_"):
            Stats.incr(f"{PREFIX}.{work}.{name}", value, tags=tags)
        elif name == "seconds":
            Stats.timing(f"{PREFIX}.{work}.duration", timedelta(seconds=value), tags=tags)
        elif name in GAUGES and isinstance(value, datetime):
            Stats.gauge(f"{PREFIX}.{name}", value.timestamp(), tags=tags)
