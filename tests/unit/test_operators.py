from __future__ import annotations

from datetime import timedelta
from typing import Any

import pendulum
import pytest
from airflow.providers.common.compat.sdk import AirflowFailException
from airflow.timetables.base import TimeRestriction, Timetable
from airflow.timetables.interval import CronDataIntervalTimetable, DeltaDataIntervalTimetable
from airflow.timetables.trigger import CronTriggerTimetable, DeltaTriggerTimetable
from online_features.errors import WindowError
from online_features.operators.feature_view import Killed
from online_features.operators.materialize import MaterializeOperator, window_arguments
from online_features.operators.rendered import count, duration, truth

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
        ({"start": "2026-01-01T01:00:00Z", "end": "None", "window": ""}, {"start": at(1), "end": None}),
        ({"start": "", "end": "None"}, {}),
    ],
)
def test_window_fields_become_arguments(fields: dict[str, Any], expected: dict[str, Any]) -> None:
    assert window_arguments(DAY, **{"window": None, "start": None, "end": None, **fields}) == expected


@pytest.mark.parametrize(
    "context, fields, message",
    [
        (ZERO_WIDTH, {"window": "data_interval"}, "CronDataIntervalTimetable"),
        ({}, {"window": "data_interval"}, "no data interval"),
        (DAY, {"window": "weekly"}, "window='weekly' is unknown -> choose one of incremental, data_interval, full"),
        (DAY, {"window": "full", "start": at(1)}, "exclude each other"),
        (DAY, {"start": "yesterday"}, "start='yesterday' is no ISO-8601"),
    ],
)
def test_fields_that_make_no_window_are_refused(context: Any, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(WindowError, match=message):
        window_arguments(context, **{"window": None, "start": None, "end": None, **fields})


@pytest.mark.parametrize(
    "timetable, has_width",
    [
        (CronTriggerTimetable("@daily", timezone="UTC"), False),
        (DeltaTriggerTimetable(timedelta(days=1)), False),
        (CronDataIntervalTimetable("@daily", timezone="UTC"), True),
        (DeltaDataIntervalTimetable(timedelta(days=1)), True),
    ],
)
def test_scheduled_and_manual_runs_have_a_data_interval_where_their_timetable_gives_it_width(
    timetable: Timetable, has_width: bool
) -> None:
    begin = pendulum.instance(at(0))
    scheduled = timetable.next_dagrun_info(
        last_automated_data_interval=None, restriction=TimeRestriction(earliest=begin, latest=None, catchup=True)
    )
    assert scheduled is not None
    for interval in (scheduled.data_interval, timetable.infer_manual_data_interval(run_after=begin.add(days=1))):
        context: Any = {"data_interval_start": interval.start, "data_interval_end": interval.end}
        if has_width:
            window = window_arguments(context, window="data_interval", start=None, end=None)
            assert window == {"start": at(0), "end": at(0, day=2)}
        else:
            with pytest.raises(WindowError, match="schedule the DAG with CronDataIntervalTimetable"):
                window_arguments(context, window="data_interval", start=None, end=None)


def test_what_users_template_is_templated() -> None:
    operator = MaterializeOperator(task_id="t", feature_view=VIEW)
    assert set(operator.template_fields) == {
        "feature_view", "postgres_conn_id", "redis_conn_id", "window", "start", "end", "prune", "lookback",
        "retry_for", "wait_for_replicas", "replica_timeout", "statement_timeout",
    }  # fmt: skip
    assert (operator.postgres_conn_id, operator.redis_conn_id) == ("offline_store", "online_store")


@pytest.mark.parametrize(
    "field, expected",
    [(None, None), ("", None), (timedelta(hours=1), timedelta(hours=1)), ("PT1H", timedelta(hours=1))],
)
def test_a_duration_may_be_text(field: Any, expected: timedelta | None) -> None:
    assert duration("lookback", field) == expected
    with pytest.raises(WindowError, match="lookback='soon' is no ISO-8601 duration, such as 'PT1H'"):
        duration("lookback", "soon")


@pytest.mark.parametrize(
    "field, expected", [(True, True), (False, False), ("True", True), ("false", False), ("", False)]
)
def test_a_truth_may_be_text(field: Any, expected: bool) -> None:
    assert truth("prune", field) is expected
    with pytest.raises(WindowError, match="prune='maybe' is no boolean, 'true' or 'false'"):
        truth("prune", "maybe")


@pytest.mark.parametrize("field, expected", [(2, 2), ("2", 2), ("", None), (None, None)])
def test_a_count_may_be_text(field: Any, expected: int | None) -> None:
    assert count("wait_for_replicas", field) == expected
    with pytest.raises(WindowError, match="wait_for_replicas='many' is no whole number"):
        count("wait_for_replicas", "many")


def test_a_kill_raises_once_and_only_in_the_midst_of_work() -> None:
    operator = MaterializeOperator(task_id="t", feature_view=VIEW)
    operator.on_kill()
    with pytest.raises(Killed), operator.working():  # noqa: PT012
        try:
            operator.on_kill()
        finally:
            operator.on_kill()
    operator.on_kill()


def test_a_view_that_cannot_be_imported_fails_the_task_at_once() -> None:
    operator = MaterializeOperator(task_id="t", feature_view="features.views.{{ params.view }}")
    operator.render_template_fields({"params": {"view": "trips"}})  # type: ignore[typeddict-item]
    with pytest.raises(AirflowFailException, match="feature_view='features.views.trips' cannot be imported"):
        operator.execute({})
