from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from online_features.counters import RowCounts
from online_features.materialization.reporting.run_warnings import run_warnings

from tests.support.views import VIEW

EXPIRING = replace(VIEW, ttl=timedelta(days=7))


@pytest.mark.parametrize(
    "counts, kind, had_rows, message",
    [
        ({"rows_read": 3, "rows_expired": 3}, "full", False, "all of 3 rows are past their ttl of 7 days, 0:00:00"),
        ({"rows_read": 4, "rows_expired": 3, "rows_rejected": 1}, "incremental", True, "all of 3 rows are past"),
        ({"rows_read": 4, "rows_expired": 3, "rows_stale": 1}, "full", True, ""),
        ({"rows_read": 2, "rows_rejected": 2}, "window", True, "every one of 2 rows was rejected"),
        ({"rows_read": 2, "rows_rejected": 1, "rows_written": 1}, "full", True, ""),
        ({}, "full", True, "has no rows, where there were some before"),
        ({}, "full", False, ""),
        ({}, "incremental", True, ""),
        ({}, "window", True, ""),
        ({"rows_read": 1, "rows_deleted": 1}, "full", True, ""),
    ],
)
def test_a_run_warns_of_what_nobody_wanted(counts: dict[str, int], kind: Any, had_rows: bool, message: str) -> None:
    warnings = run_warnings(EXPIRING, RowCounts(**counts), kind=kind, had_rows=had_rows)
    assert len(warnings) == bool(message)
    assert all(message in warning and " -> " in warning for warning in warnings)
