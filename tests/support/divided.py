"""What is compared of two ways to copy the same rows."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import pytest
from online_features import MaterializationResult, ViewStatistics
from online_features.counters import RowCounts


def counts_of(result: MaterializationResult) -> dict[str, int]:
    return {name: value for name, value in result.to_dict().items() if name in asdict(RowCounts())}


def compared(statistics: ViewStatistics | None) -> Any:
    """Return statistics that can be compared: means and deviations depend, a little, on the order of the rows."""
    assert statistics is not None
    return {
        name: {**vars(feature), "mean": pytest.approx(feature.mean), "deviation": pytest.approx(feature.deviation)}
        for name, feature in statistics.features.items()
    }
