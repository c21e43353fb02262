"""The operator and the decorator that push, in a real DAG run of their own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd
import pytest
from airflow.providers.common.compat.sdk import AirflowFailException
from airflow.sdk import DAG, task
from online_features import FeatureView, OnlineStore
from online_features.errors import FeatureViewError
from online_features_provider.decorators.push import PushDecoratedOperator
from online_features_provider.operators.push import PushOperator

from tests.conftest import at
from tests.support.servers.databases import Database

pytestmark = [pytest.mark.usefixtures("connections"), pytest.mark.oldest]


@pytest.fixture
def view(database: Database, make_view: Any) -> FeatureView:
    database("CREATE TABLE rows (id text, ts timestamptz, x int)")
    return make_view()  # type: ignore[no-any-return]


def x_of(online: OnlineStore, view: FeatureView, name: str = "a") -> Any:
    return online.get_online_features(view, [{"id": name}])[0].values["x"]


def test_rows_are_pushed_and_their_counters_returned(view: FeatureView, online: OnlineStore) -> None:
    operator = PushOperator(task_id="push", feature_view=view, rows=[{"id": "a", "ts": at(1), "x": 1}])
    result = operator.execute({})
    assert result["rows_written"] == 1
    assert result["max_event_timestamp"] == "2026-01-01T01:00:00.000000Z"
    assert x_of(online, view) == 1


def test_a_callable_gets_what_it_names_of_the_context(view: FeatureView, online: OnlineStore) -> None:
    def rows(ds: str, **context: Any) -> Iterator[dict[str, Any]]:
        yield {"id": ds, "ts": at(1), "x": context["number"]}

    context: Any = {"ds": "today", "number": 7}
    operator = PushOperator(task_id="push", feature_view=view, rows=rows)
    operator.render_template_fields(context)
    assert operator.execute(context)["rows_written"] == 1
    assert x_of(online, view, "today") == 7


@pytest.mark.parametrize("mode, stored, is_online", [
    ("online", 0, True), ("offline", 1, False), ("online_and_offline", 1, True)
])  # fmt: skip
def test_the_mode_says_where_rows_go(
    view: FeatureView, database: Database, online: OnlineStore, mode: str, stored: int, is_online: bool
) -> None:
    rows = pd.DataFrame({"id": ["a"], "ts": [at(1)], "x": [1]})
    result = PushOperator(task_id="push", feature_view=view, rows=rows, mode=mode).execute({})
    assert result["rows_appended"] == stored
    assert database("SELECT count(*) FROM rows") == [(stored,)]
    assert (online.get_online_features(view, [{"id": "a"}])[0].status == "present") is is_online


@pytest.mark.parametrize("changed, message", [
    ({"rows": [{"id": "a", "x": 1}]}, "the rows lack column 'ts'"),
    ({"rows": "file:///xcoms/rows.parquet"}, "rows of type str cannot be pushed: give a DataFrame"),
    ({"mode": "{{ 'both' }}"}, "mode='both' is unknown\n-> choose one of online, offline, online_and_offline"),
])  # fmt: skip
def test_what_no_retry_can_mend_fails_at_once(view: FeatureView, changed: Any, message: str) -> None:
    arguments = {"rows": [], **changed}
    operator = PushOperator(task_id="push", feature_view=view, **arguments)
    operator.render_template_fields({})
    with pytest.raises(AirflowFailException, match=message):
        operator.execute({})


def test_an_unknown_mode_is_told_when_the_dag_is_parsed(view: FeatureView) -> None:
    with pytest.raises(FeatureViewError, match="mode='both' is unknown -> choose one of"):
        PushOperator(task_id="push", feature_view=view, rows=[], mode="both")


def test_the_decorator_is_registered_and_pushes_what_the_function_returns(
    view: FeatureView, online: OnlineStore
) -> None:
    with DAG("pushing") as dag:

        @task.push_features(feature_view=view)
        def frame(name: str, x: int, ds: str | None = None) -> pd.DataFrame:
            return pd.DataFrame({"id": [f"{name}{ds}"], "ts": [at(1)], "x": [x]})

        frame("a", x=1)
        frame.override(task_id="other", mode="offline", retries=3)("{{ name }}", 2)

    first, other = dag.get_task("frame"), dag.get_task("other")
    assert isinstance(first, PushDecoratedOperator)
    assert first.execute({"ds": "-today"})["rows_written"] == 1  # type: ignore[typeddict-item]
    assert x_of(online, view, "a-today") == 1
    assert (other.mode, other.retries) == ("offline", 3)
    other.render_template_fields({"name": "rendered"})
    assert list(other.op_args) == ["rendered", 2]


def test_a_generator_that_fails_fails_the_task_with_its_own_error(view: FeatureView) -> None:
    def rows() -> Iterator[dict[str, Any]]:
        yield {"id": "a", "ts": at(1), "x": 1}
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        PushOperator(task_id="push", feature_view=view, rows=rows).execute({})


def test_what_users_template_is_templated(view: FeatureView) -> None:
    operator = PushOperator(task_id="push", feature_view=view, rows=[])
    assert {"rows", "mode", "redis_conn_id", "postgres_conn_id"} <= set(operator.template_fields)
    assert {"op_args", "op_kwargs", "mode"} <= set(PushDecoratedOperator.template_fields)
