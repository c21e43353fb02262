"""A DAG file that has not changed is serialized alike by every process, so that Airflow makes no new DAG version."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from demo.workplace import PROJECT

pytestmark = pytest.mark.airflow

EXAMPLES = PROJECT / "dags_examples"

SERIALIZE = """
import json, sys
from airflow.sdk import DAG
from airflow.models.serialized_dag import SerializedDagModel
from airflow.serialization.serialized_objects import DagSerialization

made, enter = {}, DAG.__enter__
DAG.__enter__ = lambda dag: made.setdefault(dag.dag_id, dag) and enter(dag)
sys.path.insert(0, sys.argv[1])
__import__(sys.argv[2])
told = {dag_id: DagSerialization.to_dict(dag) for dag_id, dag in made.items()}
print(json.dumps([told, {dag_id: SerializedDagModel.hash(dag) for dag_id, dag in told.items()}]))
"""

ALL_KINDS = """
from dataclasses import replace
from datetime import timedelta

import pandas as pd
from airflow.sdk import DAG, task
from flights_views import airport_weather, plane_trips
from online_features import FeastOptions
from online_features_provider.airflow_dags import materialization_dag
from online_features_provider.assets.changes import source_changes
from online_features_provider.operators.check import EntityFreshnessCheckOperator
from online_features_provider.operators.verify import VerifyOperator
from online_features_provider.operators.materialize import MaterializeOperator
from online_features_provider.operators.publish import PublishOperator
from online_features_provider.operators.push import PushOperator
from online_features_provider.operators.rollback import ReleaseOperator, RollbackOperator
from online_features_provider.sensors.freshness import EntityFreshnessSensor, FeatureViewFreshnessSensor


def hours(flights: pd.DataFrame) -> pd.DataFrame:
    return flights


made = replace(plane_trips, name="made", features=["hours"], transform=hours)
feast = replace(plane_trips, name="feast", layout="feast", feast=FeastOptions(types={"dep_delay": "Int64"}))
materialization_dag([made, feast, "flights_views.plane_trips"], dag_id="whole", max_staleness=timedelta(minutes=5),
                    schedule=[source_changes(plane_trips), source_changes(airport_weather)],
                    default_args={"redis_conn_id": "cache", "tags": {"a", "b", "c", "d"}, "feature_view": feast})

with DAG("kinds", schedule=None, tags={"x", "y", "z"}, params={"b": 1, "a": 2}):
    MaterializeOperator.partial(task_id="mapped", lookback=timedelta(1)).expand(feature_view=[made, "a.b", feast])
    for kind in (PublishOperator, RollbackOperator, ReleaseOperator):
        kind(task_id=kind.__name__, feature_views=[made, "a.b"])
    PushOperator(task_id="frame", feature_view=made, rows=pd.DataFrame({"id": [1]}))
    PushOperator(task_id="made", feature_view=made, rows=lambda: [{"id": 1}])
    PushOperator(task_id="generated", feature_view=made, rows=({"id": n} for n in range(3)))
    FeatureViewFreshnessSensor(task_id="view", feature_view=made, max_staleness=timedelta(hours=1), deferrable=True)
    EntityFreshnessSensor(task_id="entities", feature_view=made, entities=[{"tailnum": "a"}], max_staleness="PT1H")
    EntityFreshnessCheckOperator(task_id="sample", feature_view=made, sample=7, share=0.5)
    VerifyOperator(task_id="verify", feature_view=made, thresholds={"missing": 0, "different": 3})

    @task.push_features(feature_view=made)
    def pushed(name):
        return []

    pushed("{{ ds }}")
"""


def serialized(folder: Path, name: str, seed: int) -> list[dict[str, object]]:
    """The DAGs of a file and their hashes, by a process of its own."""
    environment = {**os.environ, "PYTHONHASHSEED": str(seed), "PYTHONPATH": str(EXAMPLES)}
    run = subprocess.run(
        [sys.executable, "-c", SERIALIZE, str(folder), name],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    told: list[dict[str, object]] = json.loads(run.stdout.splitlines()[-1])
    return told


@pytest.mark.parametrize("name", [*sorted(path.stem for path in EXAMPLES.glob("*.py")), "all_kinds"])
def test_a_dag_is_serialized_alike_by_every_process(name: str, tmp_path: Path) -> None:
    (tmp_path / "all_kinds.py").write_text(ALL_KINDS)
    folder = EXAMPLES if name != "all_kinds" else tmp_path
    first, second = (serialized(folder, name, seed) for seed in (1, 2))
    assert first[0].keys() or name == "flights_views"
    assert first == second
