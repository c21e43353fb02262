"""Rejected rows in the log."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from online_features.common.log_lines import say
from online_features.feature_view import FeatureView

log = logging.getLogger(__name__)

SAMPLE_ROWS = 5  # enough to recognize the cause, few enough to read


def log_rejected(view: FeatureView, rows: int, sample: Sequence[Sequence[Any]]) -> None:
    """Log a sample of rejected rows, and how many there are.

    :param sample: join keys and event timestamp of a few of them; no features, which may be confidential.
    """
    columns = (*view.entities, view.source.timestamp_field)
    for row in sample:
        shown = ", ".join(f"{column}={value!r}" for column, value in zip(columns, row, strict=True))
        say(log.warning, f"Feature view {view.name!r} rejects a row without {_lacking(view)}: {shown}")
    if rows > len(sample):
        log.warning("Feature view %r rejects %d such rows in all", view.name, rows)


def _lacking(view: FeatureView) -> str:
    if view.source.future_rows == "reject":
        return "an entity or an event timestamp, or of the future"
    return "an entity or an event timestamp"


class Rejections:
    """Collects the rejected rows of several batches, and logs them when the context ends."""

    def __init__(self, view: FeatureView) -> None:
        self.rows = 0
        self._view = view
        self._sample: list[Sequence[Any]] = []

    def __enter__(self) -> Rejections:
        return self

    def __exit__(self, *_: object) -> None:
        log_rejected(self._view, self.rows, self._sample)

    def add(self, rows: int, sample: Sequence[Sequence[Any]]) -> None:
        """Count the rejected rows of a batch."""
        self.rows += rows
        self._sample += sample[: SAMPLE_ROWS - len(self._sample)]
