"""How long it takes until a committed row is online: ``python -m benchmarks.parts.commits``, in a whole Airflow.

The DAG is ``dags_examples/flights_on_commit.py``, alone; commits come one by one.
"""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

from online_features import FeatureView, OnlineStore

from benchmarks.machine import machine
from benchmarks.results import Record, keep
from benchmarks.servers import Servers, servers
from benchmarks.settings import settings_from_environment
from benchmarks.source import session
from demo.flights import Flights
from demo.whole_airflow import whole_airflow
from demo.workplace import PROJECT, unwind_on_signals, workplace

ON_COMMIT = "run on commit"
COMMITS = 9  # the first one, with which the DAG's first run begins, does not count
PAUSE_SECONDS = 15.0  # longer than the trigger's interval_seconds, so that no commit has to wait for it
TIMEOUT_SECONDS = 300.0
EXAMPLES = PROJECT / "dags_examples"


def main() -> None:
    """Measure, and keep the figures in ``results/commits.jsonl``."""
    unwind_on_signals()
    settings = settings_from_environment()
    with workplace("commits") as folder, servers(folder, settings.work_mem) as running:
        context = {**machine(), **running.versions, "settings": settings.shown}
        for record in keep(settings.results / "commits.jsonl", context, records(folder, running)):
            print(f"{record['seconds']:.2f} s", flush=True)


def records(folder: Path, running: Servers) -> Iterator[Record]:
    """Commit rows of new planes and time each until it can be read."""
    dags = folder / "dags"
    dags.mkdir()
    for file in ("flights_on_commit.py", "flights_views.py"):
        shutil.copy(EXAMPLES / file, dags)
    sys.path.insert(0, str(EXAMPLES))
    from flights_views import plane_trips

    flights = Flights(running.postgres_uri)
    flights.stage()
    flights.release(timedelta(0))
    online = OnlineStore.from_url(running.redis_url)
    with whole_airflow(
        folder, postgres_uri=running.postgres_uri, redis_url=running.redis_url,
        AIRFLOW__CORE__DAGS_FOLDER=str(dags),
    ):  # fmt: skip
        for number in range(COMMITS):
            tailnum = f"N-{number}"
            with session(running.postgres_uri) as cursor:
                cursor.execute(
                    "INSERT INTO nycflights.flights (tailnum, event_timestamp, dep_delay) VALUES (%s, now(), 7)",
                    (tailnum,),
                )
                began = time.monotonic()
            _wait_for(online, plane_trips, tailnum)
            if number > 0:
                yield {"way": ON_COMMIT, "commit": number, "seconds": time.monotonic() - began}
            time.sleep(PAUSE_SECONDS)


def _wait_for(online: OnlineStore, view: FeatureView, tailnum: str) -> None:
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while online.get_online_features(view, [{"tailnum": tailnum}])[0].status != "present":
        if time.monotonic() > deadline:
            raise TimeoutError(f"{tailnum} was not online within {TIMEOUT_SECONDS:.0f} s")
        time.sleep(0.02)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
