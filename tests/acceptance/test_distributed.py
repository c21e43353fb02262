"""A full run in parts by Celery workers into a Redis Cluster: one worker is lost, one task is killed, others write."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import psutil
import pytest
from online_features import FeatureView, OfflineStore, OnlineStore, materialize

from demo.distributed import WORKERS, distributed_airflow, load
from demo.whole_airflow import WholeAirflow
from tests.acceptance.whole import Api
from tests.support.servers.databases import Database, new_database
from tests.support.servers.redis_servers import STEADY, Cluster, cluster

pytestmark = [pytest.mark.timeout(900), pytest.mark.airflow]

DAGS = Path(__file__).parent / "distributed_dags"
CUSTOMERS = 20_000
AT_WORK = 4  # two workers with two tasks each


@pytest.fixture
def customers(monkeypatch: pytest.MonkeyPatch) -> Iterator[FeatureView]:
    """The view of the DAG."""
    monkeypatch.syspath_prepend(str(DAGS))
    from waiting_dag import customers

    yield customers
    for name in ("waiting_dag", "waiting_transform"):
        del sys.modules[name]


@pytest.fixture
def database(postgres_uri: str) -> Iterator[Database]:
    with new_database(postgres_uri) as database:
        load(database.uri, CUSTOMERS)
        yield database


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[Cluster]:
    (tmp_path / "cluster").mkdir()
    with cluster(tmp_path / "cluster", *STEADY, replicas=0) as servers:
        yield servers


@pytest.fixture
def signs(tmp_path: Path) -> Path:
    """A folder in which the transform and the test leave files for each other."""
    (tmp_path / "signs").mkdir()
    return tmp_path / "signs"


@pytest.fixture
def airflow(tmp_path: Path, database: Database, servers: Cluster, signs: Path) -> Iterator[WholeAirflow]:
    (tmp_path / "whole").mkdir()
    with distributed_airflow(
        tmp_path / "whole", postgres_uri=database.uri, servers=servers, dags=DAGS,
        PYTHONPATH=os.pathsep.join([str(DAGS), os.environ.get("PYTHONPATH", "")]), WAITING_TRANSFORM=str(signs),
    ) as airflow:  # fmt: skip
        yield airflow


def kill_worker(airflow: WholeAirflow, name: str) -> list[int]:
    """Kill a worker and all processes of its tasks, as if its machine were lost; return their ids."""
    worker = psutil.Process(airflow.process_id(name))
    lost = [process.pid for process in worker.children(recursive=True)]
    airflow.kill(name)
    for pid in lost:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return lost


def test_a_run_in_parts_outlives_a_worker(
    airflow: WholeAirflow, customers: FeatureView, database: Database, servers: Cluster, signs: Path
) -> None:
    api, offline = Api(airflow), OfflineStore(database.uri)
    api.wait_for("the DAG", lambda: any(dag["dag_id"] == "waiting" for dag in api.get("dags")["dags"]))
    with servers.client() as client:
        online = OnlineStore(client)
        before = materialize(customers, offline, online)
        run_id = api.trigger("waiting")
        api.wait_for("parts on both workers", lambda: len(list(signs.iterdir())) == AT_WORK)
        lost = kill_worker(airflow, WORKERS[0])
        assert sum((signs / f"running {pid}").exists() for pid in lost) == AT_WORK / 2
        now = datetime.now(UTC)
        pushed = {"customer_id": 7, "event_timestamp": now, "created_at": now, "orders": -7, "spent": 7, "city": "here"}
        online.push(customers, [pushed])
        database("INSERT INTO customers VALUES (8, now(), now(), -8, 8, 'there'), (0, now(), now(), 0, 0, 'new')")
        increment = materialize(customers, offline, online)
        assert (increment.generation, increment.rows_written) == (before.generation, 2)
        (signs / "go").touch()
        run = api.wait_for_run("waiting", dag_run_id=run_id)
        assert run["state"] == "success"
        tasks = api.get(f"dags/waiting/dagRuns/{run_id}/taskInstances")["task_instances"]
        tries = [task["try_number"] for task in tasks if task["task_id"] == "customers.part"]
        assert len(tries) == 6
        assert sum(tries) >= 6 + 2  # again: of the lost worker, and the one that was killed
        assert (signs / "killed").exists()

        built = online.generations(customers)
        assert [known.state for known in built.generations if known.published] == ["unpublished", "published"]
        assert (built.generations[-1].parts, built.builder) == (6, None)
        assert [told["outcome"] for told in online.runs(customers)] == ["success"] * 3
        expected = dict(database("SELECT DISTINCT ON (customer_id) customer_id, orders FROM customers "
                                 "ORDER BY customer_id, event_timestamp DESC"))  # fmt: skip
        expected[7] = -7
        rows = online.get_online_features(customers, [{"customer_id": each} for each in expected], ["orders"])
        assert {row.entity["customer_id"]: row.values["orders"] for row in rows} == expected
        assert rows.generation == built.published
        assert online.freshness(customers).watermark > increment.watermark  # type: ignore[operator]
