"""The example DAGs in a whole Airflow, with scheduler, DAG processor, triggerer and API server, by its REST API."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
import redis
from online_features import OfflineStore, OnlineStore, materialize
from online_features.common.instants import from_text, to_text
from online_features.embedded import embedded_redis
from online_features.online.read.online_rows import OnlineRow

from demo.flights import Flights
from demo.whole_airflow import WholeAirflow, whole_airflow
from demo.workplace import PROJECT
from tests.acceptance.whole import Api
from tests.support.servers.databases import Database, new_database

pytestmark = [pytest.mark.timeout(900), pytest.mark.airflow]


@pytest.fixture(scope="module")
def offline_database(postgres_uri: str) -> Iterator[Database]:
    with new_database(postgres_uri) as database:
        flights = Flights(database.uri)
        flights.stage()
        flights.release(timedelta(days=1))
        yield database


@pytest.fixture(scope="module")
def online_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Redis of the module's own: the examples' features have names that other tests use, too."""
    with embedded_redis(tmp_path_factory.mktemp("redis")) as url:
        yield url


@pytest.fixture(scope="module")
def online(online_url: str) -> Iterator[OnlineStore]:
    with redis.Redis.from_url(online_url) as client:
        yield OnlineStore(client)


@pytest.fixture(scope="module")
def airflow(
    tmp_path_factory: pytest.TempPathFactory, offline_database: Database, online_url: str
) -> Iterator[WholeAirflow]:
    folder = tmp_path_factory.mktemp("whole")
    with whole_airflow(folder, postgres_uri=offline_database.uri, redis_url=online_url) as airflow:
        yield airflow


@pytest.fixture(scope="module")
def api(airflow: WholeAirflow) -> Api:
    api = Api(airflow)
    files = {path.name for path in (PROJECT / "dags_examples").glob("*.py")} - {"flights_views.py"}
    api.wait_for("the example DAGs", lambda: {dag["relative_fileloc"] for dag in api.get("dags")["dags"]} == files)
    assert api.get("importErrors")["import_errors"] == []
    return api


def commit_flight(offline_database: Database, tailnum: str) -> None:
    offline_database(
        "INSERT INTO nycflights.flights (tailnum, event_timestamp, dep_delay) VALUES (%s, now(), 7)", tailnum
    )


def wait_for_flight(api: Api, online: OnlineStore, tailnum: str) -> OnlineRow:
    """The row of a plane, when there is one."""
    from flights_views import plane_trips

    def find() -> list[OnlineRow]:
        rows = online.get_online_features(plane_trips, [{"tailnum": tailnum}], ["dep_delay"])
        return [row for row in rows if row.status == "present"]

    (row,) = api.wait_for(f"the row of {tailnum}", find)
    return row


def deferred_scoring(api: Api) -> tuple[str, str, str]:
    """Start a run of `flights_scoring` while nothing is materialized; return its sensor, which has deferred."""
    api.wait_for_run("flights_features", run_type="scheduled")
    with api.paused("flights_daily", "flights_features", "flights_on_commit"):
        sensor = ("flights_scoring", api.trigger("flights_scoring"), "features_are_online")
        api.wait_for("the sensor to defer", lambda: api.task(*sensor)["state"] == "deferred")
        return sensor


def test_scheduled_runs_are_full_first_and_then_incremental(
    api: Api, offline_database: Database, online: OnlineStore
) -> None:
    from flights_views import plane_trips

    api.wait_for_run("flights_features", run_type="scheduled")
    before = online.runs(plane_trips)
    # Which of the examples comes first is for the scheduler.
    assert next(run["kind"] for run in reversed(before) if run["kind"] != "window") == "full"
    Flights(offline_database.uri).release(timedelta(0))
    run_id = api.trigger("flights_features")
    api.wait_for_run("flights_features", dag_run_id=run_id)
    returned = api.xcom("flights_features", run_id, "materialize_plane_trips")
    assert returned["rows_read"] == sum(
        returned[f"rows_{outcome}"] for outcome in ("written", "stale", "expired", "deleted", "rejected")
    )
    assert returned["start"] is not None
    # The commit has started a run, too.
    since = [run for run in online.runs(plane_trips)[: -len(before)] if run["kind"] == "incremental"]
    assert 0 < sum(run["rows_written"] for run in since) < 4043


def test_a_backfill_of_old_days_leaves_what_is_online_as_it_is(api: Api, online: OnlineStore) -> None:
    from flights_views import plane_trips

    api.wait_for_run("flights_features", run_type="scheduled")
    (before,) = online.get_online_features(plane_trips, [{"tailnum": "N14228"}])
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    from_date, to_date = today - timedelta(days=40), today - timedelta(days=38)
    api.post(
        "backfills",
        {"dag_id": "flights_daily", "from_date": from_date.isoformat(), "to_date": to_date.isoformat(),
         "max_active_runs": 3},
    )  # fmt: skip
    api.wait_for(
        "three backfilled days", lambda: len(api.runs("flights_daily", run_type="backfill", state="success")) == 3
    )
    days = api.runs("flights_daily", run_type="backfill")
    results = [api.xcom("flights_daily", day["dag_run_id"], "materialize_day") for day in days]
    assert all(result["rows_stale"] > 0 for result in results)
    assert [result["start"] for result in results] == sorted((result["start"] for result in results), reverse=True)
    assert online.get_online_features(plane_trips, [{"tailnum": "N14228"}]) == [before]


def test_partitions_are_materialized_by_their_keys_and_a_missing_one_is_named(
    api: Api, offline_database: Database, online: OnlineStore
) -> None:
    from flights_partitions import trips_by_day

    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    before, missing, after, end = (today - timedelta(days=days) for days in (12, 11, 10, 9))
    history = materialize(trips_by_day, OfflineStore(offline_database.uri), online, end=before)
    assert history.watermark == before

    def run_partition(day: datetime) -> tuple[str, dict[str, Any]]:
        run = api.post("dags/flights_partitions/dagRuns", {"logical_date": None, "partition_key": f"{day:%Y-%m-%d}"})
        api.wait_for_run("flights_partitions", dag_run_id=run["dag_run_id"])
        return run["dag_run_id"], api.xcom("flights_partitions", run["dag_run_id"], "materialize_day")

    run_partition(before)
    run_id, returned = run_partition(after)
    assert (from_text(returned["start"]), from_text(returned["end"])) == (after, end)
    assert returned["rows_read"]

    events = api.get("assets/events", source_dag_id="flights_partitions", source_run_id=run_id)["asset_events"]
    assert [event["partition_key"] for event in events] == [f"{after:%Y-%m-%d}"]
    report = api.wait_for_run("flights_partition_report", partition_key=f"{after:%Y-%m-%d}")
    reported = api.xcom("flights_partition_report", report["dag_run_id"], "report")
    assert reported == {f"{after:%Y-%m-%d}": returned["rows_written"]}

    # The scheduler has its own run, of yesterday.
    assert (online.freshness(trips_by_day).gaps or ())[0] == (missing, after)
    check = f"dags/flights_partitions/dagRuns/{quote(run_id)}/taskInstances/no_day_is_missing"
    log = json.dumps(api.get(f"{check}/logs/1", full_content="true"))
    assert f"not materialized, while later windows are: [{to_text(missing)}, {to_text(after)})" in log

    backfill = {"dag_id": "flights_partitions", "from_date": before.isoformat(), "to_date": after.isoformat()}
    planned = api.post("backfills/dry_run", backfill)["backfills"]
    assert [run["partition_key"] for run in planned] == [f"{missing:%Y-%m-%d}"]
    api.post("backfills", backfill)
    api.wait_for_run("flights_partitions", partition_key=f"{missing:%Y-%m-%d}")
    watermark = online.freshness(trips_by_day).watermark
    assert watermark is not None
    assert watermark >= end


def test_a_dag_scheduled_on_features_runs_when_they_have_changed(api: Api) -> None:
    run = api.wait_for_run("flights_gusts", run_type="asset_triggered")
    gusts = api.xcom("flights_gusts", run["dag_run_id"], "gusts")
    assert gusts.keys() == {"EWR", "JFK", "LGA"}


def test_a_deferred_sensor_goes_on_when_a_materialization_lands(api: Api) -> None:
    _, run_id, _ = deferred_scoring(api)
    api.trigger("flights_features")
    api.wait_for_run("flights_scoring", dag_run_id=run_id)
    assert api.xcom("flights_scoring", run_id, "score")["tailnum"] == "N14228"


def test_a_commit_is_online_within_seconds(
    api: Api, offline_database: Database, online: OnlineStore, record_property: Callable[[str, object], None]
) -> None:
    api.wait_for_run("flights_features", run_type="scheduled")
    before = len(api.runs("flights_on_commit", run_type="asset_triggered"))
    commit_flight(offline_database, "N-TEST")
    began = time.monotonic()
    row = wait_for_flight(api, online, "N-TEST")
    record_property("seconds_from_commit_to_online", time.monotonic() - began)
    assert row.values == {"dep_delay": 7}
    api.wait_for(
        "its run", lambda: len(api.runs("flights_on_commit", run_type="asset_triggered", state="success")) > before
    )


def test_a_triggerer_that_is_lost_loses_nothing(
    api: Api, airflow: WholeAirflow, offline_database: Database, online: OnlineStore
) -> None:
    """Neither who waits, nor what is committed before there is another."""
    sensor = deferred_scoring(api)
    airflow.kill("triggerer")
    commit_flight(offline_database, "N-LOST")
    assert api.task(*sensor)["state"] == "deferred"
    airflow.start("triggerer")
    wait_for_flight(api, online, "N-LOST")
    api.wait_for_run("flights_scoring", dag_run_id=sensor[1])


def test_no_password_is_in_what_the_api_tells(api: Api, offline_database: Database) -> None:
    """Of all tasks that ran: fields, returned values, logs, asset events."""
    api.wait_for_run("flights_features", run_type="scheduled")
    password = urlsplit(offline_database.uri).password
    assert password
    instances = api.get("dags/~/dagRuns/~/taskInstances", limit=100)["task_instances"]
    tasks = [task for task in instances if task["try_number"]]  # a run may have begun meanwhile
    told = [tasks, api.get("assets/events", limit=100), api.get("assets", limit=100), api.get("eventLogs", limit=100)]
    for task in tasks:
        of_task = f"dags/{task['dag_id']}/dagRuns/{quote(task['dag_run_id'])}/taskInstances/{task['task_id']}"
        told.append(api.get(f"{of_task}/xcomEntries/return_value") if task["state"] == "success" else None)
        told.append(api.get(f"{of_task}/logs/{task['try_number']}", full_content="true"))
    assert any(task["rendered_fields"] for task in tasks)
    assert "Materializing feature view" in json.dumps(told)
    assert password not in json.dumps(told)
