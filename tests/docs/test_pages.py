from __future__ import annotations

import re
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from airflow.sdk import DAG, BaseSensorOperator
from airflow.utils.file import might_contain_dag
from online_features.errors import FeatureViewError
from online_features_provider.airflow_dags import materialization_dag, materialization_group
from online_features_provider.operators.check import FeatureViewFreshnessCheckOperator
from online_features_provider.operators.materialize import MaterializeOperator

from demo.workplace import PROJECT
from tests.test_feature_view import VIEW

weather, airports = (replace(VIEW, name=name) for name in ("weather", "airports"))

FILE = """
from online_features_provider.airflow_dags import materialization_dag

materialization_dag(["features.views.plane_trips"], schedule="@hourly")
"""


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
    assert "| default:trips.v2 | table 'rows' |\n| tests.docs.test_pages.weather |" in (dag.doc_md or "")
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


def test_one_view_in_place_of_a_list_and_a_list_in_place_of_a_view_are_refused() -> None:
    with pytest.raises(FeatureViewError, match="is one view -> give a list of views"):
        materialization_dag("features.views.plane_trips", schedule=None)
    with DAG("mine", schedule=None), pytest.raises(FeatureViewError, match="is a list, and a task is for one view"):
        materialization_group([VIEW])  # type: ignore[arg-type]


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


PYTHON = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
DOCUMENTS = (PROJECT / "README.md", *sorted((PROJECT / "docs").glob("*.md")))
EXAMPLES = {
    **{str(path.relative_to(PROJECT)): path.read_text() for path in sorted((PROJECT / "dags_examples").glob("*.py"))},
    **{f"{path.relative_to(PROJECT)} {number}": code for path in DOCUMENTS
       for number, code in enumerate(PYTHON.findall(path.read_text())) if "MaterializeOperator(" in code},
}  # fmt: skip


@pytest.mark.parametrize(
    "name", [name for name, code in EXAMPLES.items() if "MaterializeOperator(" in code and "load_feature" not in code]
)
def test_no_example_waits_behind_its_own_run(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a sensor behind a run waits for, only the next run can bring."""
    dags: set[DAG] = set()
    monkeypatch.setattr(DAG, "__enter__", lambda dag, enter=DAG.__enter__: dags.add(dag) or enter(dag))
    exec(EXAMPLES[name], {"__name__": "example"})
    runs = [task for dag in dags for task in dag.tasks if task.task_type == "MaterializeOperator"]
    assert runs
    for run in runs:
        assert not [task for task in run.get_flat_relatives() if isinstance(task, BaseSensorOperator)]
