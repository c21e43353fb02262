"""The example DAGs that build and publish generations, in runs of Airflow's own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from online_features import OnlineStore

from demo.airflow import DemoAirflow
from demo.flights import Flights
from demo.workplace import PROJECT
from tests.support.servers.databases import Database

pytestmark = pytest.mark.airflow

PATH = os.pathsep.join(str(PROJECT / folder) for folder in (".", "engine", "provider", "dags_examples"))


@pytest.fixture
def airflow(tmp_path: Path, redis_url: str, database: Database) -> DemoAirflow:
    airflow = DemoAirflow(tmp_path / "home", postgres_uri=database.uri, redis_url=redis_url, PYTHONPATH=PATH)
    airflow.run("db", "migrate")
    return airflow


def runs_of(airflow: DemoAirflow, *dags: str) -> tuple[list[Any], str]:
    """Run DAGs one after the other, and return what became of the tasks of each, and the log."""
    arguments = [json.dumps({"dag_id": dag}) for dag in dags]
    command = [sys.executable, "-m", "tests.acceptance.dag_runs", *arguments]
    process = subprocess.run(command, env=airflow.environment, capture_output=True, text=True, check=False)
    log = process.stdout + process.stderr
    assert process.returncode == 0, log
    return json.loads(process.stdout.splitlines()[-1]), log


def test_the_examples_build_publish_roll_back_and_release_together(
    airflow: DemoAirflow, online: OnlineStore, flights: Flights
) -> None:
    from flights_views import airport_weather, plane_trips

    flights.release(timedelta(days=1))
    dags = ["flights_nightly", "flights_features", "flights_nightly", "flights_rollback", "flights_features",
            "flights_nightly", "flights_release", "flights_nightly", "flights_features"]  # fmt: skip
    runs = [{task["task_id"]: task for task in run} for run in runs_of(airflow, *dags)[0]]

    first, increment, second, rolled_back, skipped, held, released, third, last = runs
    for nightly in (first, second, third):
        assert {task["state"] for task in nightly.values()} == {"success"}
        built = {view: nightly[f"{view}.materialize"]["return_value"] for view in ("plane_trips", "airport_weather")}
        assert not any(result["is_published"] for result in built.values())
        assert nightly["publish"]["return_value"] == {view: result["generation"] for view, result in built.items()}
    for run, nightly in ((increment, first), (last, third)):
        for view, generation in nightly["publish"]["return_value"].items():
            assert run[f"materialize_{view}"]["return_value"]["generation"] == generation
    assert rolled_back["roll_back"]["return_value"] == first["publish"]["return_value"]
    assert {task["state"] for task in skipped.values()} == {"skipped"}
    assert {name: task["state"] for name, task in held.items() if "materialize" not in name} == {
        "publish": "skipped", "is_fresh.plane_trips": "skipped", "is_fresh.airport_weather": "skipped"
    }  # fmt: skip
    assert released["release"]["state"] == "success"
    for view in (plane_trips, airport_weather):
        assert online.generations(view).published == third["publish"]["return_value"][view.name]
        assert [run["kind"] for run in online.runs(view) if run["outcome"] == "success"] == [
            "incremental", "full", "full", "full", "incremental", "full"
        ]  # fmt: skip


def test_a_guarded_dag_publishes_no_view_if_one_has_failed_checks(
    airflow: DemoAirflow, database: Database, online: OnlineStore, flights: Flights
) -> None:
    from flights_guarded import guarded_trips

    flights.release(timedelta(0))

    def run() -> tuple[dict[str, str], str]:
        """Return the states of the tasks, and the log."""
        (tasks,), log = runs_of(airflow, "flights_guarded")
        return {task["task_id"]: task["state"] for task in tasks}, log

    states, log = run()
    assert set(states.values()) == {"success"}, log
    published = online.generations(guarded_trips).published
    database("UPDATE nycflights.flights SET distance = distance * 1000")
    states, log = run()
    assert {task for task, state in states.items() if state == "failed"} == {"guarded_trips.materialize"}
    assert states["guarded_weather.materialize"] == "success"
    assert states["publish"] == "upstream_failed"
    told = "guarded_trips.materialize: check within('distance', 10, 5000): expected 10 to 5,000, found "
    assert told in log
    assert online.generations(guarded_trips).published == published


def test_a_view_is_built_in_parts_by_mapped_tasks(
    airflow: DemoAirflow, database: Database, online: OnlineStore, flights: Flights
) -> None:
    from flights_views import plane_trips

    flights.release(timedelta(days=1))
    for run, log in (runs_of(airflow, "flights_parts") for _ in range(2)):
        (tasks,) = run
        assert {task["state"] for task in tasks} == {"success"}, log
        parts = [task for task in tasks if task["task_id"] == "plane_trips.part"]
        assert sorted(part["name"] for part in parts) == [f"plane_trips part {number}" for number in range(4)]
        one = {task["task_id"]: task["return_value"] for task in tasks if task not in parts}
        assert sorted(one) == ["plane_trips.is_fresh", "plane_trips.plan", "plane_trips.publish"]
        published = one["plane_trips.publish"]
        for counter in ("rows_read", "rows_written"):
            assert sum(part["return_value"][counter] for part in parts) == published[counter] > 0
        assert online.generations(plane_trips).published == published["generation"]
        assert "4 of 4 parts are written" in log
