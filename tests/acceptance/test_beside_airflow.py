"""What Airflow may be set up as beside us: another XCom back end, the psycopg 3 hook, tasks that are mapped."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.postgres.hooks import postgres
from online_features import FeatureView, OnlineStore, PostgresSource

from demo.airflow import DemoAirflow
from demo.workplace import PROJECT
from tests.support.servers.databases import Database

pytestmark = pytest.mark.airflow

DAGS = """
from datetime import UTC, datetime
from airflow.sdk import DAG, task
from online_features import FeatureView, PostgresSource
from online_features_provider.operators.materialize import MaterializeOperator
from online_features_provider.operators.push import PushOperator


def view(name):
    source = PostgresSource(table="rows", timestamp_field="ts")
    return FeatureView(name=name, project="{project}", entities=["id"], features=["x"], source=source)


with DAG("xcoms", schedule=None):

    @task
    def rows():
        return [{{"id": "a", "ts": datetime.now(UTC), "x": 7}}]

    @task
    def read(told):
        return told["rows_written"]

    PushOperator(task_id="push", feature_view=view("pushed"), rows=rows())
    read(MaterializeOperator(task_id="materialize", feature_view=view("materialized")).output)

with DAG("mapped_pushes", schedule=None, params={{"count": 0}}):

    @task
    def count(params=None):
        return [*range(params["count"])]

    @task
    def row(number):
        return {{"id": f"e{{number}}", "ts": datetime.now(UTC), "x": number}}

    @task
    def batch(number):
        return [{{"id": f"b{{number}}_{{n}}", "ts": datetime.now(UTC), "x": n}} for n in range(number + 1)]

    numbers = count()
    all_done = {{"trigger_rule": "all_done"}}
    PushOperator(task_id="all_rows", feature_view=view("all_rows"), rows=row.expand(number=numbers), **all_done)
    PushOperator(task_id="all_batches", feature_view=view("all_batches"), rows=batch.expand(number=numbers), **all_done)
    PushOperator.partial(task_id="each", feature_view=view("each")).expand(rows=batch.expand(number=numbers))
"""


@pytest.fixture
def told(tmp_path: Path, database: Database, redis_url: str, project: str) -> dict[str, Any]:
    """What each task has returned, by DAG run and task; XComs are paths of files."""
    database("CREATE TABLE rows AS SELECT 'a' AS id, now() AS ts, 1 AS x")
    (tmp_path / "dags").mkdir()
    (tmp_path / "dags" / "beside.py").write_text(DAGS.format(project=project))
    airflow = DemoAirflow(
        tmp_path / "home", postgres_uri=database.uri, redis_url=redis_url,
        AIRFLOW__CORE__DAGS_FOLDER=str(tmp_path / "dags"),
        AIRFLOW__CORE__XCOM_BACKEND="airflow.providers.common.io.xcom.backend.XComObjectStorageBackend",
        AIRFLOW__COMMON_IO__XCOM_OBJECTSTORAGE_PATH=f"file://{tmp_path}/xcoms",
        AIRFLOW__COMMON_IO__XCOM_OBJECTSTORAGE_THRESHOLD="0",
        PYTHONPATH=os.pathsep.join(map(str, (PROJECT, PROJECT / "engine", PROJECT / "provider"))),
    )  # fmt: skip
    airflow.run("db", "migrate")
    runs: list[dict[str, Any]] = [
        {"dag_id": "xcoms"}, *({"dag_id": "mapped_pushes", "run_conf": {"count": count}} for count in (0, 1, 3))
    ]  # fmt: skip
    command = [sys.executable, "-m", "tests.acceptance.dag_runs", *map(json.dumps, runs)]
    run = subprocess.run(command, env=airflow.environment, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    ran = json.loads(run.stdout.splitlines()[-1])
    (tmp_path / "log").write_text(run.stdout + run.stderr)
    return {f"{number} {task['task_id']}": task for number, tasks in enumerate(ran) for task in tasks}


def test_tasks_get_on_with_paths_for_xcoms_and_with_mapped_tasks(
    told: dict[str, Any], online: OnlineStore, project: str
) -> None:
    states = {name: task["state"] for name, task in told.items()}
    assert told["0 rows"]["return_value"].startswith("file://")
    assert {states[f"0 {task}"] for task in ("rows", "push", "materialize", "read")} == {"success"}
    assert {name: state for name, state in states.items() if "all_" in name} == {
        f"{run} {task}": "success" for run in (1, 2, 3) for task in ("all_rows", "all_batches")
    }

    def pushed(name: str) -> list[Any]:
        source = PostgresSource(table="rows", timestamp_field="ts")
        view = FeatureView(name=name, project=project, entities=["id"], features=["x"], source=source)
        entities = [{"id": name} for name in ("a", "e0", "e1", "e2", "b0_0", "b1_1", "b2_2")]
        return [row.entity["id"] for row in online.get_online_features(view, entities) if row.status == "present"]

    assert pushed("pushed") == pushed("materialized") == ["a"]
    assert pushed("all_rows") == ["e0", "e1", "e2"]
    assert pushed("all_batches") == pushed("each") == ["b0_0", "b1_1", "b2_2"]


def test_the_postgres_hook_of_these_tests_speaks_psycopg_3() -> None:
    assert postgres.USE_PSYCOPG3
