"""``make up-distributed``: a full run in parts by two Celery workers into a Redis Cluster, until Ctrl-C."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psycopg2
from online_features.embedded import HOST, embedded_postgres, embedded_redis

from demo.whole_airflow import WholeAirflow, whole_airflow
from demo.workplace import PROJECT, unwind_on_signals, workplace
from tests.support.servers.redis_servers import STEADY, Cluster, cluster

ENTITIES, HISTORY, PARTS = 2_000_000, 3, 12
WORKERS = ("worker-1", "worker-2")
DAG_ID = "distributed"


def main() -> None:
    """Run until Ctrl-C.

    :raises SystemExit: if a part of Airflow stops by itself.
    """
    unwind_on_signals()
    with ExitStack() as stack:
        folder = stack.enter_context(workplace("distributed"))
        postgres_uri = stack.enter_context(embedded_postgres(folder))
        print(f"Loading {ENTITIES * HISTORY:,} rows and making Airflow's metadata database …", flush=True)
        load(postgres_uri, ENTITIES)
        (folder / "cluster").mkdir()
        servers = stack.enter_context(cluster(folder / "cluster", *STEADY, replicas=0))
        airflow = stack.enter_context(distributed_airflow(folder, postgres_uri=postgres_uri, servers=servers))
        airflow.command.run("dags", "reserialize")
        airflow.command.run("dags", "trigger", DAG_ID)
        workers = [str(airflow.process_id(name)) for name in WORKERS]
        print(
            f"Airflow   {airflow.url}/dags/{DAG_ID}, where a full run in {PARTS} parts has begun",
            f"Features  {airflow.url}/plugin/online_features",
            f"Postgres  {postgres_uri}",
            f"Redis     a cluster: {', '.join(f'{HOST}:{node.port}' for node in servers.nodes)}",
            f"Workers   processes {' and '.join(workers)}: kill one, if you like",
            f"Logs      {os.path.relpath(folder)}",
            "Ctrl-C stops everything.",
            sep="\n",
            flush=True,
        )
        while True:
            time.sleep(1)
            airflow.check(but=WORKERS)


def load(postgres_uri: str, entities: int) -> None:
    """Make the table of customers, with three rows of history each."""
    connection = psycopg2.connect(postgres_uri)
    with connection, connection.cursor() as cursor:
        cursor.execute(
            "CREATE TABLE customers (customer_id bigint, event_timestamp timestamptz, created_at timestamptz, "
            "orders integer, spent numeric(12, 2), city text)"
        )
        cursor.execute(
            "INSERT INTO customers SELECT n, now() - h * interval '1 day', now() - h * interval '1 day', n %% 100 + h, "
            "round((n + h) / 100.0, 2), 'city ' || n %% 1000 "
            "FROM generate_series(1, %s) AS n, generate_series(1, %s) AS h",
            (entities, HISTORY),
        )
        cursor.execute("CREATE INDEX ON customers (customer_id, event_timestamp)")
        cursor.execute("CREATE INDEX ON customers (created_at)")
        cursor.execute("CREATE INDEX ON customers (event_timestamp)")
        cursor.execute("ANALYZE customers")
    connection.close()


@contextmanager
def distributed_airflow(
    folder: Path, *, postgres_uri: str, servers: Cluster, dags: Path = PROJECT / "demo" / "distributed_dags",
    **settings: str,
) -> Iterator[WholeAirflow]:  # fmt: skip
    """Start a whole Airflow with two Celery workers, which can be killed.

    :param servers: the online store.
    :param dags: folder of DAG files.
    :param settings: further environment variables of Airflow.
    """
    first, *others = servers.nodes
    online = {
        "conn_type": "redis", "host": HOST, "port": first.port,
        "extra": {"cluster": True, "startup_nodes": ",".join(f"{HOST}:{node.port}" for node in others)},
    }  # fmt: skip
    (folder / "broker").mkdir()
    with (
        embedded_redis(folder / "broker") as broker_url,
        whole_airflow(
            folder, postgres_uri=postgres_uri, redis_url=json.dumps(online), executor="CeleryExecutor",
            AIRFLOW__CORE__DAGS_FOLDER=str(dags), AIRFLOW__CELERY__BROKER_URL=broker_url,
            # A worker that is lost is noticed soon, and its task is queued again.
            AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_SEC="2",
            AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT="20",
            AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL="5",
            AIRFLOW__SCHEDULER__TASK_QUEUED_TIMEOUT="60",  # of one that a lost worker had not begun
            **settings,
        ) as airflow,
    ):  # fmt: skip
        for name in WORKERS:
            start_worker(airflow, name)
        yield airflow


def start_worker(airflow: WholeAirflow, name: str) -> None:
    """Start a Celery worker with two tasks at once."""
    airflow.start(
        name, "celery", "worker", "--celery-hostname", f"{name}@%h", "--concurrency", "2", "--skip-serve-logs"
    )


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(0)
