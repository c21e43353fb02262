"""Whole DAGs: what they are made of, and that they never wait for themselves."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psycopg2
import pytest
from airflow.sdk import DAG, BaseSensorOperator, CronPartitionTimetable, TaskGroup
from airflow.sdk.exceptions import AirflowFailException
from airflow.utils.file import might_contain_dag
from online_features import FeatureView, FeatureViewError, OptionError
from online_features_provider.airflow_dags import materialization_dag, materialization_group
from online_features_provider.operators.check import FeatureViewFreshnessCheckOperator
from online_features_provider.operators.materialize import MaterializeOperator
from online_features_provider.operators.parts import FinishBuildOperator, MaterializePartOperator
from online_features_provider.operators.publish import PublishOperator
from online_features_provider.operators.run_window import window_arguments
from online_features_provider.operators.verify import VerifyOperator

from tests.conftest import at
from tests.support.servers.databases import Database
from tests.support.views import VIEW

MakeView = Callable[..., FeatureView]

weather, airports = (replace(VIEW, name=name) for name in ("weather", "airports"))

FILE = """
from online_features_provider.airflow_dags import materialization_dag

materialization_dag(["features.views.plane_trips"], schedule="@hourly")
"""


@pytest.fixture
def view(database: Database, redis_url: str, make_view: MakeView, monkeypatch: pytest.MonkeyPatch) -> FeatureView:
    monkeypatch.setenv("AIRFLOW_CONN_OFFLINE_STORE", database.uri)
    monkeypatch.setenv("AIRFLOW_CONN_ONLINE_STORE", redis_url)
    database("CREATE TABLE rows AS SELECT 'a' AS id, now() AS ts, 1 AS x")
    return make_view(source={"created_timestamp_column": "ts"})


def test_an_open_transaction_costs_a_check_and_no_run(view: FeatureView, database: Database) -> None:
    def run(**options: Any) -> dict[str, Any]:
        dag = materialization_dag([view], schedule=None, **options)
        assert not any(isinstance(task, BaseSensorOperator) for task in dag.tasks)
        dag.get_task("view.materialize").execute({})
        measured: dict[str, Any] = dag.get_task("view.is_fresh").execute({})
        return measured

    with closing(psycopg2.connect(database.uri)) as session:
        session.cursor().execute("SELECT now()")
        with pytest.raises(AirflowFailException, match="required: a lag of at most 0:00:00"):
            run(max_staleness=timedelta(0))
        held = run(max_staleness=timedelta(0), on_stale="warn")["watermark"]
        assert run(max_staleness=timedelta(hours=1))["watermark"] == held
    assert run(max_staleness=timedelta(hours=1))["watermark"] > held


def test_a_dag_for_many_views_has_a_chain_for_each_of_them() -> None:
    views = [replace(VIEW, name="trips.v2"), f"{__name__}.weather", f"{__name__}:airports"]
    dag = materialization_dag(views, schedule=timedelta(minutes=5), max_staleness=timedelta(minutes=15))
    assert {task.task_id: task.downstream_task_ids for task in dag.tasks} == {
        "trips_v2.materialize": {"trips_v2.is_fresh"}, "trips_v2.is_fresh": set(),
        "weather.materialize": {"weather.is_fresh"}, "weather.is_fresh": set(),
        "airports.materialize": {"airports.is_fresh"}, "airports.is_fresh": set(),
    }  # fmt: skip
    assert (dag.dag_id, dag.catchup, dag.max_active_runs, dag.tags) == (
        "materialization",
        False,
        1,
        {"online features"},
    )
    assert "| default:trips.v2 | table 'rows' |\n| tests.provider.test_airflow_dags.weather |" in (dag.doc_md or "")
    task = dag.get_task("weather.materialize")
    assert (task.retries, task.retry_delay, task.retry_exponential_backoff) == (3, timedelta(minutes=1), 2)


def test_arguments_of_the_dag_and_of_its_tasks_are_the_users() -> None:
    arguments = {"window": "data_interval", "redis_conn_id": "cache", "retries": 1}
    dag = materialization_dag(
        [VIEW], dag_id="mine", schedule=None, default_args=arguments, max_active_runs=4, max_staleness=timedelta(1),
        on_stale="warn",
    )  # fmt: skip
    materialize, fresh = dag.get_task("view.materialize"), dag.get_task("view.is_fresh")
    assert isinstance(materialize, MaterializeOperator)
    assert isinstance(fresh, FeatureViewFreshnessCheckOperator)
    assert fresh.on_stale == "warn"
    assert (materialize.window, materialize.redis_conn_id, materialize.retries) == ("data_interval", "cache", 1)
    assert (fresh.redis_conn_id, fresh.retries) == ("cache", 1)
    assert (dag.dag_id, dag.max_active_runs) == ("mine", 4)


def test_a_dag_may_have_a_run_for_each_partition() -> None:
    days = CronPartitionTimetable("0 0 * * *", timezone="UTC", run_offset=-1, key_format="%Y-%m-%d")
    dag = materialization_dag(
        [VIEW], schedule=days, default_args={"window": "partition"}, start_date=at(0), catchup=True
    )
    run: Any = {"dag": dag, "dag_run": SimpleNamespace(partition_key="2026-01-31"), "partition_date": None}
    window = window_arguments(run, window=dag.get_task("view.materialize").window, start=None, end=None)
    assert window == {"start": at(0, day=31), "end": at(0, day=31) + timedelta(days=1)}


def test_one_view_in_place_of_a_list_and_a_list_in_place_of_a_view_are_refused() -> None:
    with pytest.raises(FeatureViewError, match="is one view -> give a list of views"):
        materialization_dag("features.views.plane_trips", schedule=None)
    with DAG("mine", schedule=None), pytest.raises(FeatureViewError, match="is a list, and a task is for one view"):
        materialization_group([VIEW])  # type: ignore[arg-type]


@pytest.mark.parametrize("of_view, of_dag", [(None, timedelta(minutes=15)), (timedelta(minutes=15), None)])
def test_full_builds_are_published_together_by_one_task(of_view: timedelta | None, of_dag: timedelta | None) -> None:
    views = [replace(VIEW, name=name, max_staleness=of_view) for name in ("trips.v2", "view")]
    dag = materialization_dag(views, publish="together", schedule=None, max_staleness=of_dag)
    assert {task.task_id: task.downstream_task_ids for task in dag.tasks} == {
        "trips_v2.materialize": {"publish"}, "view.materialize": {"publish"},
        "publish": {"is_fresh.trips_v2", "is_fresh.view"}, "is_fresh.trips_v2": set(), "is_fresh.view": set(),
    }  # fmt: skip
    assert [group.label for group in dag.task_group.topological_sort() if isinstance(group, TaskGroup)]
    build, publish = dag.get_task("view.materialize"), dag.get_task("publish")
    assert (build.window, build.publish, build.retries) == ("full", False, 3)
    assert isinstance(publish, PublishOperator)
    assert (publish.feature_views, publish.retries) == (views, 3)


@pytest.mark.parametrize("options, message", [
    ({"publish": "all"}, "publish='all' is unknown -> choose one of each, together"),
    ({"publish": "together", "default_args": {"window": "incremental"}},
     "runs with window='incremental' write to what is published -> leave window= out"),
])  # fmt: skip
def test_what_cannot_be_published_together_is_refused(options: Any, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        materialization_dag([VIEW], schedule=None, **options)


def test_a_full_build_in_parts_has_mapped_tasks_between_its_plan_and_its_publication() -> None:
    arguments = {"redis_conn_id": "cache", "retries": 1, "wait_for_replicas": 1, "prune": True, "keep_generations": 2}
    with DAG("mine", schedule=None, default_args=arguments) as dag:
        materialization_group(VIEW, window="full", parts=4, max_staleness=timedelta(1), verify={"sample": 10})
        materialization_group(VIEW, window="full", group_id="whole", default_args={"window": "incremental"})
    assert {task.task_id: task.downstream_task_ids for task in dag.tasks} == {
        "view.plan": {"view.part", "view.publish"}, "view.part": {"view.publish"},
        "view.publish": {"view.is_fresh", "view.verify"}, "view.is_fresh": set(), "view.verify": set(),
        "whole.materialize": set(),
    }  # fmt: skip
    plan, part, publish = (dag.get_task(f"view.{name}") for name in ("plan", "part", "publish"))
    assert (plan.parts, plan.prune, plan.redis_conn_id, plan.retries) == (4, True, "cache", 1)
    assert part.is_mapped
    mapped = part.unmap({"part": {"number": 2}})
    assert isinstance(mapped, MaterializePartOperator)
    assert (mapped.part, mapped.redis_conn_id, mapped.retries, mapped.wait_for_replicas) == (
        {"number": 2}, "cache", 1, 1
    )  # fmt: skip
    assert isinstance(publish, FinishBuildOperator)
    assert (publish.publish, publish.keep_generations, publish.wait_for_replicas) == (True, 2, 1)
    assert dag.get_task("whole.materialize").window == "full"


def test_builds_in_parts_are_published_together_by_one_task() -> None:
    views = [replace(VIEW, name="trips.v2"), f"{__name__}.weather"]
    dag = materialization_dag(views, publish="together", parts=8, schedule=None)
    assert {task.task_id: task.downstream_task_ids for task in dag.tasks} == {
        "trips_v2.plan": {"trips_v2.part", "trips_v2.finish"}, "trips_v2.part": {"trips_v2.finish"},
        "trips_v2.finish": {"publish"}, "weather.plan": {"weather.part", "weather.finish"},
        "weather.part": {"weather.finish"}, "weather.finish": {"publish"}, "publish": set(),
    }  # fmt: skip
    assert (dag.get_task("weather.plan").parts, dag.get_task("weather.finish").publish) == (8, False)
    each = materialization_dag(views, parts=8, schedule=None, default_args={"window": "full"})
    assert each.get_task("weather.publish").publish is True


@pytest.mark.parametrize("arguments, message", [
    ({"window": "incremental"}, "window='incremental' does not build a view in full -> give window='full' with parts="),
    ({"window": "{{ params.window }}"}, "does not build a view in full"),
    ({"parallel": 4}, "parallel=4 is not for a build in parts -> leave it out, or parts="),
    ({"in_place": True}, "in_place=True is not for a build in parts"),
    ({"overwrite": "{{ params.overwrite }}"}, "is not for a build in parts"),
    ({"lookback": timedelta(hours=1)}, "is not for a build in parts"),
    ({"start": at(0)}, "is not for a build in parts"),
])  # fmt: skip
def test_what_contradicts_a_build_in_parts_is_refused(arguments: dict[str, Any], message: str) -> None:
    for publish in ("each", "together"):
        with pytest.raises(OptionError):
            materialization_dag([VIEW], parts=4, publish=publish, schedule=None, default_args=arguments)
    with DAG("mine", schedule=None), pytest.raises(OptionError, match=message):
        materialization_group(VIEW, parts=4, default_args=arguments)
    if "window" in arguments:
        with DAG("mine", schedule=None), pytest.raises(OptionError, match=message):
            materialization_group(VIEW, parts=4, **arguments)
    with pytest.raises(OptionError, match="parts=0 is out of its range"):
        materialization_dag([VIEW], parts=0, schedule=None)


def test_views_are_verified_after_their_runs() -> None:
    options: dict[str, Any] = {"schedule": None, "verify": {"sample": 100, "thresholds": {"missing": 5}}}
    dag = materialization_dag([VIEW], **options)
    verify = dag.get_task("view.verify")
    assert isinstance(verify, VerifyOperator)
    assert (verify.sample, verify.thresholds, verify.upstream_task_ids) == (
        100, {"missing": 5}, {"view.materialize"}
    )  # fmt: skip
    together = materialization_dag([VIEW, replace(VIEW, name="trips.v2")], publish="together", **options)
    assert together.get_task("publish").downstream_task_ids == {"verify.view", "verify.trips_v2"}


def test_a_group_is_part_of_a_dag_of_the_users() -> None:
    with DAG("mine", schedule=None) as dag:
        materialization_group(VIEW) >> materialization_group(VIEW, group_id="again", default_args={"window": "full"})
    assert {task.task_id: task.downstream_task_ids for task in dag.tasks} == {
        "view.materialize": {"again.materialize"}, "again.materialize": set()
    }  # fmt: skip
    assert dag.get_task("again.materialize").window == "full"


def test_airflow_does_not_pass_over_a_file_that_imports_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "features.py").write_text(FILE)
    assert might_contain_dag(str(tmp_path / "features.py"), safe_mode=True)
