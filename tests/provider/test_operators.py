from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException
from airflow.sdk import DAG, task
from online_features.errors import FeatureViewError, WindowError
from online_features_provider.operators.check import FeatureViewFreshnessCheckOperator
from online_features_provider.operators.links import links
from online_features_provider.operators.materialize import MaterializeOperator
from online_features_provider.operators.push import PushOperator
from online_features_provider.operators.rendered_fields import count, duration, number, parse_bool
from online_features_provider.operators.task_failure import TaskKilled
from online_features_provider.sensors.freshness import FeatureViewFreshnessSensor

from tests.support.views import VIEW

pytestmark = pytest.mark.oldest


def test_what_users_template_is_templated() -> None:
    operator = MaterializeOperator(task_id="t", feature_view=VIEW)
    assert set(operator.template_fields) == {
        "feature_view", "postgres_conn_id", "redis_conn_id", "window", "start", "end", "prune", "publish",
        "in_place", "overwrite", "allow_empty", "ignore_checks", "ignore_memory", "keep_generations", "parallel",
        "lookback", "retry_for", "wait_for_replicas", "replica_timeout", "statement_timeout",
    }  # fmt: skip
    assert (operator.postgres_conn_id, operator.redis_conn_id) == ("offline_store", "online_store")


@pytest.mark.parametrize(
    "field, expected",
    [
        (None, None),
        ("", None),
        (" None ", None),
        (timedelta(hours=1), timedelta(hours=1)),
        ("PT1H", timedelta(hours=1)),
        (3600, timedelta(hours=1)),
        ("3600", timedelta(hours=1)),
        ("0.5", timedelta(seconds=0.5)),
        ("01:00:00", timedelta(hours=1)),
    ],
)
def test_a_duration_may_be_text(field: Any, expected: timedelta | None) -> None:
    assert duration("lookback", field) == expected
    with pytest.raises(WindowError, match="lookback='soon' must be a timedelta, a number of seconds"):
        duration("lookback", "soon")


@pytest.mark.parametrize(
    "field, expected", [(True, True), (False, False), ("True", True), ("false", False), ("", False)]
)
def test_a_truth_may_be_text(field: Any, expected: bool) -> None:
    assert parse_bool("prune", field) is expected
    with pytest.raises(WindowError, match="prune='maybe' must be true or false"):
        parse_bool("prune", "maybe")


@pytest.mark.parametrize("field, expected", [(2, 2), ("2", 2), ("", None), (None, None)])
def test_a_count_may_be_text(field: Any, expected: int | None) -> None:
    assert count("wait_for_replicas", field) == expected
    with pytest.raises(WindowError, match="wait_for_replicas='many' must be a whole number"):
        count("wait_for_replicas", "many")


@pytest.mark.parametrize("field, expected", [(0.95, 0.95), ("0.95", 0.95), ("", None), ("None", None), (None, None)])
def test_a_number_may_be_text(field: Any, expected: float | None) -> None:
    assert number("share", field) == expected
    with pytest.raises(WindowError, match="share='most' must be a number, such as 0.95"):
        number("share", "most")


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"feature_view": "plane trips"}, "is not an import path -> give a FeatureView"),
        ({"feature_view": "plane_trips"}, "is not an import path"),
        ({"feature_view": ""}, "is not an import path"),
        ({"feature_view": [VIEW]}, r"is a list, and a task is for one view -> make a task of each by .expand"),
        ({"feature_view": None}, "feature_view=None is not a feature view"),
        (
            {"feature_view": VIEW, "window": "incremntal"},
            "window='incremntal' is unknown -> choose one",
        ),
        ({"feature_view": VIEW, "window": 7}, "window=7 is unknown"),
    ],
)
def test_what_can_be_told_without_importing_is_told_when_the_dag_is_parsed(fields: Any, message: str) -> None:
    with pytest.raises((FeatureViewError, WindowError), match=message):
        MaterializeOperator(task_id="t", **fields)
    with pytest.raises((FeatureViewError, WindowError), match=message):
        MaterializeOperator.partial(task_id="t", **fields)
    if "window" not in fields:
        for operator in (FeatureViewFreshnessCheckOperator, FeatureViewFreshnessSensor):
            with pytest.raises(FeatureViewError, match=message):
                operator(task_id="t", max_staleness=1, **fields)
        with pytest.raises(FeatureViewError, match=message):
            PushOperator(task_id="t", rows=[], **fields)


def test_what_is_known_only_when_the_task_runs_is_not_refused_before() -> None:
    with DAG("d", schedule=None):

        @task
        def choose() -> str:
            return "features.views.trips"

        chosen = choose()
        for view in (chosen, "features.views.{{ params.view }}", "{{ params.view }}", "not_installed_here.views:trips"):
            MaterializeOperator(task_id=f"t{id(view)}", feature_view=view, window="{{ params.window }}")
        MaterializeOperator.partial(task_id="m", window=chosen).expand(feature_view=[VIEW])


@pytest.mark.parametrize(
    "fields, effective",
    [
        ({}, "incremental"),
        ({"window": "full"}, "full"),
        ({"window": "{{ params.window }}"}, "incremental"),
        ({"start": "{{ params.window }}"}, "incremental"),
        ({"start": "2026-01-01T00:00:00Z"}, None),
    ],
)
def test_the_window_that_counts_is_shown(fields: dict[str, Any], effective: str | None) -> None:
    operator = MaterializeOperator(task_id="t", feature_view=VIEW, **fields)
    operator.render_template_fields({"params": {"window": None}})  # type: ignore[typeddict-item]
    assert operator.window == effective


def test_there_is_no_link_without_anywhere_to_lead_or_anything_to_lead_to(monkeypatch: pytest.MonkeyPatch) -> None:
    assert MaterializeOperator.operator_extra_links == links() == ()
    monkeypatch.setenv("AIRFLOW__ONLINE_FEATURES__LINK_URL", "https://dashboards/<feature_view>")
    (link,) = links()
    monkeypatch.setattr(MaterializeOperator, "operator_extra_links", (link,))
    operator = MaterializeOperator(task_id="t", feature_view="features.views.no_such_view")
    with pytest.raises(AirflowFailException):
        operator.execute({})
    assert operator.operator_extra_links == ()


def test_a_kill_raises_once_and_only_in_the_midst_of_work() -> None:
    operator = MaterializeOperator(task_id="t", feature_view=VIEW)
    operator.on_kill()
    with pytest.raises(TaskKilled), operator.working():  # noqa: PT012
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
