"""What the rest of Airflow hears of runs and pushes: asset events in its database, lineage in OpenLineage's file."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.engine import make_url

from demo.airflow import DemoAirflow
from tests.support.servers.databases import Database

pytestmark = pytest.mark.airflow

DAGS = """
from datetime import UTC, datetime
from airflow.sdk import DAG, Asset
from online_features import FeatureView, PostgresSource
from online_features_provider.assets.feature_view import feature_view_asset
from online_features_provider.operators.materialize import MaterializeOperator
from online_features_provider.operators.publish import PublishOperator
from online_features_provider.operators.push import PushOperator
from online_features_provider.operators.rollback import RollbackOperator

def view(name, table="rows"):
    source = PostgresSource(table=table, timestamp_field="ts", created_timestamp_column="created")
    return FeatureView(name=name, project="PROJECT", entities=["id"], source=source)

NOW = datetime.now(UTC)

dags = []
for emit in ("changed", "always", "never"):
    with DAG(emit, schedule=None) as dag:
        MaterializeOperator(task_id="run", feature_view=view(emit), emit=emit, outlets=[Asset("own")])
    dags.append(dag)

with DAG("mapped", schedule=None) as mapped:
    MaterializeOperator.partial(task_id="run").expand(feature_view=[view("one"), view("two")])

with DAG("together", schedule=None) as together:
    views = [view("one"), view("two")]
    build = MaterializeOperator.partial(task_id="build", window="full", publish=False).expand(feature_view=views)
    build >> PublishOperator(task_id="publish", feature_views=views)

with DAG("back", schedule=None) as back:
    RollbackOperator(task_id="roll_back", feature_views=[view("one"), view("two")])

with DAG("held", schedule=None) as held:
    MaterializeOperator(task_id="skipped", feature_view=view("one"), emit="always")
    MaterializeOperator(task_id="ready", feature_view=view("two"), window="full", emit="always")

with DAG("push", schedule=None) as push:
    PushOperator(task_id="push", feature_view=view("changed"), rows=[{"id": "b", "ts": NOW, "x": 2}])

with DAG("missing", schedule=None) as missing:
    MaterializeOperator(task_id="run", feature_view=view("missing", table="nothing"))

with DAG("following", schedule=[feature_view_asset(view(name)) for name in ("changed", "one", "two")]) as following:
    pass

if __name__ == "__main__":
    import sys
    for name in sys.argv[1:]:
        next(dag for dag in (*dags, mapped, together, back, held, push, missing) if dag.dag_id == name).test()
"""


class Heard:
    """An Airflow of the test's own, and what it has heard."""

    def __init__(self, home: Path, database: Database, redis_url: str, project: str) -> None:
        self._dags, self._lineage = home / "dags" / "dags.py", home / "lineage.jsonl"
        transport = {"type": "file", "log_file_path": str(self._lineage), "append": True}
        self._airflow = DemoAirflow(
            home / "airflow", postgres_uri=database.uri, redis_url=redis_url,
            AIRFLOW__CORE__DAGS_FOLDER=str(self._dags.parent),
            AIRFLOW__OPENLINEAGE__TRANSPORT=json.dumps(transport),
            AIRFLOW__OPENLINEAGE__EXECUTION_TIMEOUT="120",  # after which an event is given up
        )  # fmt: skip
        self._dags.parent.mkdir()
        self._dags.write_text(DAGS.replace("PROJECT", project))
        self._airflow.run("db", "migrate")
        self._airflow.run("dags", "reserialize")

    def run(self, *dags: str) -> None:
        """Run DAGs, one after the other."""
        subprocess.run(
            [sys.executable, str(self._dags), *dags], env=self._airflow.environment, check=True, capture_output=True
        )

    def events(self) -> list[tuple[str, str, dict[str, Any]]]:
        """All asset events: DAG, URI and extra."""
        query = """
            SELECT source_dag_id, uri, e.extra FROM asset_event e JOIN asset a ON a.id = e.asset_id ORDER BY e.id"""
        database = Path(self._airflow.environment["AIRFLOW_HOME"]) / "airflow.db"
        with closing(sqlite3.connect(database)) as connection:
            return [(dag, uri, json.loads(extra)) for dag, uri, extra in connection.execute(query)]

    def lineage(self, task: str, outcome: str) -> dict[str, Any]:
        """The first event of OpenLineage of a task with this outcome."""
        events = [json.loads(line) for line in self._lineage.read_text().splitlines()]
        return next(event for event in events if (event["eventType"], event["job"]["name"]) == (outcome, task))

    def says(self, text: str) -> bool:
        """Whether an asset event or OpenLineage gives this away."""
        return text in json.dumps(self.events()) or text in self._lineage.read_text()


@pytest.fixture
def heard(tmp_path: Path, database: Database, redis_url: str, project: str) -> Heard:
    database("CREATE TABLE rows AS SELECT 'a' AS id, now() AS ts, now() AS created, 1 AS x")
    return Heard(tmp_path, database, redis_url, project)


def test_events_and_lineage_of_runs_and_pushes(heard: Heard, database: Database, project: str) -> None:
    heard.run(
        "changed", "changed", "always", "always", "never", "mapped", "push", "missing", "together", "back", "held"
    )  # fmt: skip

    events = heard.events()
    assert [dag for dag, uri, _ in events if uri == "own"] == ["changed", "changed", "always", "always", "never"]
    views = [(dag, uri.removeprefix(f"online-features://{project}/")) for dag, uri, _ in events if uri != "own"]
    assert sorted(views) == [
        ("always", "always"), ("always", "always"),
        ("back", "one"), ("back", "two"),
        ("changed", "changed"),  # and not a second time, when there was nothing new
        ("mapped", "one"), ("mapped", "two"), ("push", "changed"),
        ("together", "one"), ("together", "two"),  # from publishing, not from building
    ]  # fmt: skip
    run = next(extra for dag, uri, extra in events if dag == "changed" and uri != "own")
    push = next(extra for dag, _, extra in events if dag == "push")
    switches = {
        (dag, uri[-3:]): extra["generation"] for dag, uri, extra in events if dag in ("mapped", "together", "back")
    }
    assert switches["back", "one"] == switches["mapped", "one"] < switches["together", "one"]
    url = make_url(database.uri)
    assert (run["rows_written"], run["start"], run["end"]) == (1, None, run["watermark"])
    assert run["source"] == f"postgres://{url.host}:{url.port}/{url.database}/public/rows"
    assert (push["rows_written"], push["source"]) == (1, None)

    told = heard.lineage("changed.run", "COMPLETE")
    (source,), (view,) = told["inputs"], told["outputs"]
    assert (source["namespace"], source["name"]) == (f"postgres://{url.host}:{url.port}", f"{url.database}.public.rows")
    assert view["namespace"].startswith("redis://")
    assert view["name"] == f"0.{project}:changed"
    assert view["outputFacets"]["outputStatistics"]["rowCount"] == 1
    assert [(field["name"], field["type"]) for field in view["facets"]["schema"]["fields"]] == [
        ("id", "text"), ("ts", "timestamp with time zone"), ("created", "timestamp with time zone"), ("x", "integer")
    ]  # fmt: skip
    (origin,) = view["facets"]["columnLineage"]["fields"]["x"]["inputFields"]
    assert (origin["namespace"], origin["name"], origin["field"]) == (source["namespace"], source["name"], "x")
    (also,) = view["facets"]["symlinks"]["identifiers"]
    assert (also["namespace"], also["name"]) == (f"online-features://{project}", "changed")

    failed = heard.lineage("missing.run", "FAIL")
    assert [dataset["name"] for dataset in failed["inputs"]] == [f"{url.database}.public.nothing"]
    assert [dataset["name"] for dataset in failed["outputs"]] == [f"0.{project}:missing"]
    assert "outputStatistics" not in failed["outputs"][0]["outputFacets"]
    assert url.password
    assert not heard.says(url.password)
