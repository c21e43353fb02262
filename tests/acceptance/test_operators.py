"""Operators in real DAG runs of Airflow's: those of the guide, as they stand there, and a few that it only tells of."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import takewhile
from pathlib import Path
from typing import Any

import pytest
import redis
from online_features import FeatureView, OnlineStore, PostgresSource

from demo.airflow import DemoAirflow
from demo.workplace import PROJECT
from tests.support.processes import until
from tests.support.servers.databases import Database, new_database

pytestmark = pytest.mark.airflow

DAGS = Path(__file__).parent / "dags"
GUIDE = PROJECT / "docs" / "operators.md"
FILE = re.compile(r"^```python\n# (\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)

GUIDES: tuple[dict[str, Any], ...] = (
    {"dag_id": "trips"},
    {"dag_id": "trips_by_hand", "run_conf": {"start": "2026-01-01T00:00:00Z"}},
    {"dag_id": "all_trips"},
    {"dag_id": "daily_trips", "logical_date": "2026-01-05T00:00:00+00:00"},
    {"dag_id": "delays"},
    {"dag_id": "landed"},
    {"dag_id": "keep_fresh"},
    {"dag_id": "features_after_load"},
    {"dag_id": "nightly"},
    {"dag_id": "in_parts"},
    {"dag_id": "own_parts"},
    {"dag_id": "switched"},
    {"dag_id": "roll_back"},
    {"dag_id": "release"},
)

# Of a run that reads slowly; its other sessions come and go.
QUERIES = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query ~ '^COPY.*pg_sleep'"


@pytest.fixture(scope="module")
def database(postgres_uri: str) -> Iterator[Database]:
    with new_database(postgres_uri) as database:
        yield database


@pytest.fixture(scope="module")
def statsd() -> Iterator[socket.socket]:
    """A server of metrics, as far as UDP has one."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(0.1)
        server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2**22)
        yield server


@pytest.fixture(scope="module")
def dags(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of the guide, and those of the tests."""
    folder = tmp_path_factory.mktemp("dags")
    for name, code in FILE.findall(GUIDE.read_text()):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(code.replace("FeatureView(\n", 'FeatureView(\n    project="operators",\n'))
    for file in DAGS.glob("*.py"):
        shutil.copy(file, folder)
    return folder


@pytest.fixture(scope="module")
def airflow(
    tmp_path_factory: pytest.TempPathFactory, dags: Path, database: Database, redis_url: str, statsd: socket.socket
) -> DemoAirflow:
    with redis.Redis.from_url(redis_url) as client:
        for key in client.scan_iter("*operators*"):
            client.delete(key)
    airflow = DemoAirflow(
        tmp_path_factory.mktemp("airflow") / "home",
        postgres_uri=database.uri,
        redis_url=redis_url,
        AIRFLOW__ONLINE_FEATURES__LINK_URL="https://dashboards/<redis_conn_id>/<project>?view=<feature_view>",
        AIRFLOW__CORE__DAGS_FOLDER=str(dags),
        AIRFLOW__METRICS__STATSD_ON="true",
        AIRFLOW__METRICS__STATSD_PORT=str(statsd.getsockname()[1]),
        AIRFLOW__METRICS__STATSD_INFLUXDB_ENABLED="true",
        TEST_PROJECT="operators",
        PYTHONPATH=os.pathsep.join(map(str, (dags, PROJECT, PROJECT / "engine", PROJECT / "provider"))),
    )
    airflow.run("db", "migrate")
    return airflow


@pytest.fixture(scope="module")
def runs(airflow: DemoAirflow, database: Database) -> list[list[dict[str, Any]]]:
    """What Airflow recorded of the tasks of a few runs, one after the other."""
    database(
        "CREATE TABLE rows AS SELECT 'a' AS id, timestamptz '2026-01-01 12:00Z' + x * interval '1 day' AS ts, x "
        "FROM generate_series(0, 4) AS x"
    )
    database(
        "CREATE TABLE flights AS SELECT 'N1' AS tailnum, 'EWR' AS origin, timestamptz '2026-01-04 12:00Z' "
        "AS event_timestamp, 7 AS dep_delay, 1400 AS distance"
    )
    arguments = [
        {"dag_id": "mapped"},
        {"dag_id": "templated"},
        {"dag_id": "templated", "run_conf": {"view": "two", "start": "2026-01-03T00:00:00Z"}},
        {"dag_id": "typo"},
        {"dag_id": "daily", "logical_date": "2026-01-05T00:00:00+00:00"},
        {"dag_id": "daily", "logical_date": "2026-01-03T00:00:00+00:00"},
        {"dag_id": "daily", "logical_date": "2026-01-05T00:00:00+00:00"},
        {"dag_id": "after_asset", "logical_date": None},
        {"dag_id": "timed_out"},
        *GUIDES,
    ]
    with running(airflow, *arguments) as process:
        printed, _ = process.communicate()
    assert process.returncode == 0, printed
    return json.loads(printed.splitlines()[-1])  # type: ignore[no-any-return]


@contextmanager
def running(airflow: DemoAirflow, *runs: dict[str, Any]) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "tests.acceptance.dag_runs", *map(json.dumps, runs)]
    with subprocess.Popen(
        command, env=airflow.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def test_views_are_mapped_over_and_each_task_is_named_for_its_view(runs: Any) -> None:
    names = {(task["task_id"], task["name"]) for task in runs[0]}
    assert names == {
        ("views", "operators:one"), ("views", "operator_views.two"), ("named", "full"), ("named", "incremental")
    }  # fmt: skip
    assert {task["fields"]["feature_view"] for task in runs[0]} == {
        "operators:one", "operators:two", "operator_views.two"
    }  # fmt: skip
    assert {task["state"] for task in runs[0]} == {"success"}


def test_fields_are_rendered_and_what_renders_to_nothing_is_not_given(runs: Any) -> None:
    everything, window = ({task["task_id"]: task for task in run} for run in runs[1:3])
    materialize, push = everything["materialize"], everything["push"]
    assert (materialize["fields"]["feature_view"], materialize["fields"]["window"]) == ("operator_views.one", "full")
    assert (materialize["fields"]["start"], materialize["fields"]["prune"]) == ("None", "True")
    assert materialize["return_value"]["start"] is None
    assert push["return_value"]["rows_written"] == 1
    assert window["materialize"]["return_value"]["start"] == "2026-01-03T00:00:00.000000Z"


def test_a_link_leads_to_where_the_configuration_says(runs: Any) -> None:
    assert {task["_link_OnlineFeaturesLink"] for task in runs[0]} == {
        "https://dashboards/online_store/operators?view=one", "https://dashboards/online_store/operators?view=two"
    }  # fmt: skip


def test_the_history_of_a_view_tells_the_tasks_that_wrote_it(runs: Any, online: OnlineStore) -> None:
    source = PostgresSource(table="rows", timestamp_field="ts")
    view = FeatureView(name="two", project="operators", entities=["id"], source=source)
    first = online.runs(view)[-1]
    assert first["origin"].pop("run_id").startswith("manual__")
    assert first["origin"].pop("map_index") in (-1, 0, 1)
    assert first["origin"].pop("task_id") in ("views", "named")
    assert first["origin"] == {
        "dag_id": "mapped", "try_number": 1, "postgres_conn_id": "offline_store", "redis_conn_id": "online_store",
    }  # fmt: skip
    assert first["watermark"] is not None


def test_no_retry_waits_for_a_typo(runs: Any) -> None:
    assert runs[3][0]["state"] == "failed"


def test_a_backfill_of_old_days_and_a_cleared_task_never_regress_what_is_online(runs: Any) -> None:
    returned = [run[0]["return_value"] for run in runs[4:7]]
    assert [(result["start"][:10], result["end"][:10]) for result in returned] == [
        ("2026-01-04", "2026-01-05"), ("2026-01-02", "2026-01-03"), ("2026-01-04", "2026-01-05")
    ]  # fmt: skip
    assert [(result["rows_written"], result["rows_stale"]) for result in returned] == [(1, 0), (0, 1), (1, 0)]


def test_a_run_that_an_asset_started_is_incremental_and_has_no_data_interval(runs: Any) -> None:
    states = {task["task_id"]: task["state"] for task in runs[7]}
    assert states == {"incremental": "success", "data_interval": "failed"}


def test_a_time_out_ends_the_task_and_its_query(runs: Any, database: Database) -> None:
    assert runs[8][0]["state"] == "failed"
    assert database(QUERIES) == [(0,)]


def test_a_kill_ends_the_query_and_leaves_the_task_to_its_retries(airflow: DemoAirflow, database: Database) -> None:
    with running(airflow, {"dag_id": "slow"}) as process:
        until(lambda: database(QUERIES) == [(1,)], seconds=60)
        process.send_signal(signal.SIGTERM)
        until(lambda: database(QUERIES) == [(0,)], seconds=3)
        assert process.stdout is not None
        ended = list(takewhile(lambda line: "new_state=up_for_retry" not in line, process.stdout))
    assert any("the task was killed while it wrote feature view 'operators:slow'" in line for line in ended)


def test_the_dags_of_the_guide_run_as_they_stand_there(runs: Any) -> None:
    by_dag = {guide["dag_id"]: run for guide, run in zip(GUIDES, runs[-len(GUIDES) :], strict=True)}
    assert {task["state"] for run in by_dag.values() for task in run} == {"success"}
    written = {dag_id: sum(task.get("return_value", {}).get("rows_written", 0) for task in run)
               for dag_id, run in by_dag.items() if dag_id not in ("delays", "in_parts", "own_parts")}  # fmt: skip
    assert {dag_id for dag_id, rows in written.items() if rows} >= {"trips", "trips_by_hand", "all_trips", "landed"}
    assert len(by_dag["keep_fresh"]) == 2


def test_what_a_task_returns_is_documented(runs: Any) -> None:
    keys = {*runs[0][0]["return_value"]}
    table = GUIDE.read_text().partition("### What a task returns")[2].partition("###")[0]
    documented = {
        name for row in re.findall(r"^\| (`.+?) \|", table, re.MULTILINE) for name in re.findall("`(.+?)`", row)
    }
    assert keys == documented


def test_rows_and_freshness_are_metrics(runs: Any, statsd: socket.socket) -> None:
    metrics = set(received(statsd))
    tags = "project=operators,feature_view=one"
    assert f"airflow.online_features.materialize.rows_written,{tags}:1|c" in metrics
    assert f"airflow.online_features.push.rows_read,{tags}:1|c" in metrics
    for name in ("materialize.duration", "push.duration", "watermark"):
        assert any(re.match(rf"airflow\.online_features\.{name}.*,{tags}:\d", metric) for metric in metrics)


def received(statsd: socket.socket) -> Iterator[str]:
    with suppress(TimeoutError):
        while True:
            yield statsd.recv(65536).decode()
