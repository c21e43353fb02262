from __future__ import annotations

from typing import Any

import pytest
from online_features.errors import WindowError
from online_features.operators.materialize import MaterializeOperator, window_arguments

from tests.conftest import at
from tests.unit.test_feature_view import VIEW

DAY: Any = {"data_interval_start": at(0), "data_interval_end": at(0, day=2)}
ZERO_WIDTH: Any = {"data_interval_start": at(0), "data_interval_end": at(0)}


@pytest.mark.parametrize(
    "fields, expected",
    [
        ({}, {}),
        ({"window": "incremental"}, {}),
        ({"window": "full"}, {"full": True}),
        ({"window": "data_interval"}, {"start": at(0), "end": at(0, day=2)}),
        ({"start": at(1), "end": "2026-01-01T02:00:00+00:00"}, {"start": at(1), "end": at(2)}),
        ({"start": "2026-01-01T01:00:00Z"}, {"start": at(1), "end": None}),
    ],
)
def test_window_fields_become_arguments(fields: dict[str, Any], expected: dict[str, Any]) -> None:
    assert window_arguments(DAY, **{"window": None, "start": None, "end": None, **fields}) == expected


@pytest.mark.parametrize(
    "context, fields, message",
    [
        (ZERO_WIDTH, {"window": "data_interval"}, "CronDataIntervalTimetable"),
        ({}, {"window": "data_interval"}, "no data interval"),
        (DAY, {"window": "weekly"}, "window='weekly' is unknown: choose one of incremental, data_interval, full"),
        (DAY, {"window": "full", "start": at(1)}, "exclude each other"),
        (DAY, {"start": "yesterday"}, "start='yesterday' is no ISO-8601"),
    ],
)
def test_fields_that_make_no_window_are_refused(context: Any, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(WindowError, match=message):
        window_arguments(context, **{"window": None, "start": None, "end": None, **fields})


def test_what_users_template_is_templated() -> None:
    operator = MaterializeOperator(task_id="t", feature_view=VIEW)
    assert {"postgres_conn_id", "redis_conn_id", "window", "start", "end"} <= set(operator.template_fields)
    assert (operator.postgres_conn_id, operator.redis_conn_id) == ("offline_store", "online_store")
