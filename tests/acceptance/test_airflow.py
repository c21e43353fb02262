"""The example DAG and the failures a user meets, through Airflow's own command line."""

from __future__ import annotations

import re
import subprocess
from datetime import timedelta
from pathlib import Path

import pytest
from airflow import sdk
from online_features import OnlineStore
from online_features.common.log_lines import LINE

from demo.airflow import DemoAirflow
from demo.flights import Flights
from tests.support.servers.databases import Database

pytestmark = [pytest.mark.airflow, pytest.mark.oldest]

VIEW = """
from dataclasses import replace
from flights_views import plane_trips
from online_features import PostgresSource

def view(table):
    source = PostgresSource(table=table, timestamp_field="event_timestamp")
    return replace(plane_trips, name=table, features=["x"], source=source)
"""
FAILING_DAG = f"""{VIEW}
from datetime import timedelta
from airflow.sdk import DAG
from online_features_provider.operators.materialize import MaterializeOperator

with DAG("failing", schedule="@daily", default_args=dict(retries=3, retry_delay=timedelta(hours=1))) as dag:
    MaterializeOperator(task_id="no_interval", feature_view=plane_trips, window="data_interval")
    MaterializeOperator(task_id="no_table", feature_view=view("nowhere"))
    MaterializeOperator(task_id="away", feature_view=view("here"), redis_conn_id="gone", retry_for="PT0S", retries=0)
"""
# The policy would do the opposite of what is sensible, so that what it decides can be seen.
POLICY_DAG = f"""{VIEW}
from datetime import timedelta
from airflow.sdk import DAG, ExceptionRetryPolicy, RetryAction, RetryRule
from online_features_provider.operators.materialize import MaterializeOperator

policy = ExceptionRetryPolicy(
    [
        RetryRule("online_features.TransientError", action=RetryAction.FAIL, reason="the policy ends it"),
        RetryRule("online_features.TerminalError", action=RetryAction.RETRY, reason="the policy repeats it"),
    ],
    default=RetryAction.RETRY,
)
retries = dict(retries=3, retry_delay=timedelta(hours=1), retry_policy=policy)

with DAG("with_policy", schedule=None, default_args=retries):
    MaterializeOperator(task_id="no_table", feature_view=view("nowhere"))
    MaterializeOperator(task_id="away", feature_view=view("here"), redis_conn_id="gone", retry_for="PT0S")
"""
HERE = "CREATE TABLE here AS SELECT 'a' AS tailnum, now() AS event_timestamp, 1 AS x"
COLOURS = re.compile(r"\x1b\[[0-9;]*m")


@pytest.fixture(scope="module")
def airflow(tmp_path_factory: pytest.TempPathFactory, redis_url: str) -> DemoAirflow:
    home = tmp_path_factory.mktemp("airflow") / "home"
    airflow = DemoAirflow(home, postgres_uri="postgresql://set-by-each-test", redis_url=redis_url)
    airflow.run("db", "migrate")
    return airflow


def run_dag(
    airflow: DemoAirflow, folder: Path, dag_id: str, code: str, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run a DAG that is alone in its folder; connection ``gone`` leads to nowhere."""
    dags = folder / "dags"
    dags.mkdir()
    (dags / f"{dag_id}.py").write_text(code)
    examples = airflow.environment["AIRFLOW__CORE__DAGS_FOLDER"]
    paths = {"AIRFLOW__CORE__DAGS_FOLDER": str(dags), "PYTHONPATH": examples}
    return subprocess.run(
        ["airflow", "dags", "test", dag_id],
        env={**airflow.environment, **paths, "AIRFLOW_CONN_GONE": "redis://127.0.0.1:1", **environment},
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_the_example_dag_materializes_and_finds_fresh_features(
    airflow: DemoAirflow, database: Database, online: OnlineStore, flights: Flights
) -> None:
    from flights_views import airport_weather, plane_trips

    flights.release(timedelta(days=1))
    airflow.environment["AIRFLOW_CONN_OFFLINE_STORE"] = database.uri
    airflow.run("dags", "test", "flights_features")
    flights.release(timedelta(0))
    airflow.run("dags", "test", "flights_features")
    for view, entities in ((plane_trips, 4043), (airport_weather, 3)):
        second, first = online.runs(view)
        assert (first["kind"], second["kind"]) == ("full", "incremental")
        assert first["rows_written"] == entities
        assert 0 < second["rows_read"] < first["rows_read"] or entities == 3
        lag = online.freshness(view).lag
        assert lag is not None
        assert timedelta(0) <= lag < timedelta(minutes=10)


def test_the_examples_of_producers_push_their_rows(
    airflow: DemoAirflow, database: Database, online: OnlineStore, flights: Flights
) -> None:
    from flights_views import airport_weather, carrier_delays, plane_trips

    flights.release(timedelta(0))
    airflow.environment["AIRFLOW_CONN_OFFLINE_STORE"] = database.uri

    airflow.run("dags", "test", "flights_push_rows")
    (landed,) = online.get_online_features(plane_trips, [{"tailnum": "N14228"}])
    assert (landed.status, landed.values["arr_delay"]) == ("present", 11)

    airflow.run("dags", "test", "flights_push_batch")
    ((origin, temp, seen),) = database(
        "SELECT origin, temp, event_timestamp FROM nycflights.weather ORDER BY event_timestamp DESC, origin LIMIT 1"
    )
    (weather,) = online.get_online_features(airport_weather, [{"origin": origin}])
    assert (weather.event_timestamp, weather.values["temp"]) == (seen, temp)

    airflow.run("dags", "test", "flights_push_upstream")
    (delays,) = online.get_online_features(carrier_delays, [{"carrier": "UA"}])
    assert delays.values["flights"] > 0
    assert isinstance(delays.values["mean_delay"], float)


def test_the_log_of_a_failed_task_ends_with_what_is_wrong_and_what_to_do(
    airflow: DemoAirflow, database: Database, tmp_path: Path
) -> None:
    database(HERE)
    run = run_dag(airflow, tmp_path, "failing", FAILING_DAG, AIRFLOW_CONN_OFFLINE_STORE=database.uri)
    assert run.returncode != 0
    printed = COLOURS.sub("", run.stdout + run.stderr)
    # Behind the exception comes another record: which one depends on Airflow's version.
    ends = re.findall(r"^.* Task failed with exception .*\n((?:(?!\d{4}-\d\d-\d\dT).*\n)+)", printed, re.MULTILINE)
    assert len(ends) == 3
    for end in ends:
        assert end.count("Traceback (most recent call last)") == 1
        assert end.splitlines()[-1].startswith("-> ")
        for drivers in ("psycopg2", "sqlalchemy", "redis.exceptions", "socket", "materialization.py"):
            assert drivers not in end
    errors = [line.partition("] ")[2].partition("[")[0].strip() for line in printed.splitlines() if "[error" in line]
    assert all(len(line) <= LINE for line in errors)
    for what, cure in (
        ("this DAG run's data interval is empty", "-> schedule the DAG with CronDataIntervalTimetable"),
        ("feature view 'nowhere', table 'nowhere': relation", "-> name an existing table"),
        ("feature view 'here', Redis: Error 111 connecting to 127.0.0.1:1", "-> check host and port"),
    ):
        (first,) = (number for number, line in enumerate(errors) if what in line)
        end = errors.index("Task failed with exception", first)
        assert end - first <= 3
        assert errors[end - 1].startswith(cure)


@pytest.mark.skipif("RetryPolicy" not in sdk.__all__, reason="Airflow 3.3 has retry policies")
def test_a_retry_policy_decides_on_transient_errors_alone(
    airflow: DemoAirflow, database: Database, tmp_path: Path
) -> None:
    database(HERE)
    run = run_dag(airflow, tmp_path, "with_policy", POLICY_DAG, AIRFLOW_CONN_OFFLINE_STORE=database.uri)
    assert run.returncode != 0
    printed = COLOURS.sub("", run.stdout + run.stderr)
    assert printed.count("Task failed with exception") == 2  # else it waits for an hour
    assert printed.count("the policy ends it") == 1
    assert "the policy repeats it" not in printed


@pytest.mark.parametrize(
    "command, told",
    [
        (["list"], {"airflow-provider-online-features"}),
        (
            ["get", "airflow-provider-online-features", "--full"],
            {"online_features_provider.assets.feature_view.sanitize_uri"},
        ),
        (
            ["triggers"],
            {"online_features_provider.triggers.changes", "online_features_provider.triggers.freshness"},
        ),
        (["links"], {"online_features_provider.operators.links.OnlineFeaturesLink"}),
    ],
    ids=lambda words: words[0] if isinstance(words, list) else "",
)
def test_airflow_knows_the_provider(airflow: DemoAirflow, command: list[str], told: set[str]) -> None:
    listed = subprocess.run(
        ["airflow", "providers", *command, "--output", "json"],
        env=airflow.environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert {name for name in told if name not in listed.stdout} == set()
