"""Airflow metrics of runs, pushes and checks: ``online_features.<name>``, tagged with project and view."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

from airflow.providers.common.compat.sdk import Stats
from online_features.common.instants import from_text
from online_features.verification.report import SkewClass

if TYPE_CHECKING:
    from online_features.checks.check import CheckResult
    from online_features.counters import RowCounts
    from online_features.feature_view import FeatureView
    from online_features.producers.appending import AppendResult
    from online_features.verification.report import VerificationReport

PREFIX = "online_features"
NOT_IN_TAGS = str.maketrans({",": "", "=": " "})  # Airflow drops tags with these characters for StatsD


def emit_result(work: Literal["materialize", "push"], view: FeatureView, result: RowCounts | AppendResult) -> None:
    """Emit the counters and the duration of a run or push, and the watermark."""
    tags = _tags(view)
    for name, value in asdict(result).items():
        if name.startswith("rows_"):
            Stats.incr(f"{PREFIX}.{work}.{name}", value, tags=tags)
        elif name == "seconds":
            Stats.timing(f"{PREFIX}.{work}.duration", timedelta(seconds=value), tags=tags)
        elif name == "watermark" and value is not None:
            _gauge_instant(name, value, tags)


def emit_checks(view: FeatureView, results: Iterable[CheckResult]) -> None:
    """Count the outcomes of checks of rows."""
    for result in results:
        tags = {**_tags(view), "check": result.check.translate(NOT_IN_TAGS), "outcome": str(result.outcome)}
        Stats.incr(f"{PREFIX}.checks", tags=tags)


def emit_measured(view: FeatureView, measured: Mapping[str, Any]) -> None:
    """Emit gauges of what a check measured: numbers, and instants given as text."""
    tags = _tags(view)
    for name, value in measured.items():
        if isinstance(value, str):
            _gauge_instant(name, from_text(value), tags)
        else:
            Stats.gauge(f"{PREFIX}.{name}", value, tags=tags)


def emit_verification(view: FeatureView, report: VerificationReport) -> None:
    """Emit how many rows of each class there are, and the duration."""
    tags = _tags(view)
    for kind in SkewClass:
        if (rows := getattr(report, kind)) is not None:
            Stats.gauge(f"{PREFIX}.verify.{kind}", rows, tags=tags)
    Stats.timing(f"{PREFIX}.verify.duration", timedelta(seconds=report.seconds), tags=tags)


def _gauge_instant(name: str, instant: datetime, tags: Mapping[str, str]) -> None:
    """Emit an instant, in seconds of Unix time."""
    Stats.gauge(f"{PREFIX}.{name}_seconds", instant.timestamp(), tags=dict(tags))


def _tags(view: FeatureView) -> dict[str, str]:
    return {"project": view.project, "feature_view": view.name}
