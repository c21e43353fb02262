"""What tasks and triggers measure, as Airflow metrics: ``online_features.<name>``, gauges with tags for the view."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import Stats

from online_features.instants import from_text

if TYPE_CHECKING:
    from online_features.feature_view import FeatureView

PREFIX = "online_features"


def emit(view: FeatureView, measured: Mapping[str, Any]) -> None:
    """Emit every number among what was measured, and every instant, as seconds of Unix time."""
    tags = {"project": view.project, "feature_view": view.name}
    for name, value in measured.items():
        if isinstance(value, str):
            Stats.gauge(f"{PREFIX}.{name}_seconds", from_text(value).timestamp(), tags=tags)
        else:
            Stats.gauge(f"{PREFIX}.{name}", value, tags=tags)
