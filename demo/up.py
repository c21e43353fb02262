"""``make up``: run the example DAGs in a whole Airflow, with new flights every few seconds, until Ctrl-C."""

from __future__ import annotations

import os
import shlex
import sys
import time
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path

from online_features.embedded import postgres_server, redis_server

from demo.flights import Flights
from demo.shown_views import show_views
from demo.whole_airflow import WholeAirflow, whole_airflow
from demo.workplace import unwind_on_signals, workplace

HELD_BACK = timedelta(days=3)
TRICKLE = timedelta(minutes=10)  # of flights, released every TRICKLE_SECONDS
TRICKLE_SECONDS = 10.0


def main() -> None:
    """Run until Ctrl-C.

    :raises SystemExit: if a part of Airflow stops by itself.
    """
    unwind_on_signals()
    with ExitStack() as stack:
        folder = stack.enter_context(workplace("up"))
        postgres_uri = stack.enter_context(postgres_server(folder))
        redis_url = stack.enter_context(redis_server(folder))
        flights = Flights(postgres_uri)
        print("Loading flights and making Airflow's metadata database …", flush=True)
        flights.stage()
        flights.release(HELD_BACK)
        show_views(postgres_uri, redis_url)
        airflow = stack.enter_context(whole_airflow(folder, postgres_uri=postgres_uri, redis_url=redis_url))
        print(
            f"Airflow   {airflow.url}",
            f"Features  {airflow.url}/plugin/online_features",
            f"Postgres  {postgres_uri}",
            f"Redis     {redis_url}",
            f"Logs      {os.path.relpath(folder)}",
            f"Command   export ONLINE_FEATURES_REDIS={redis_url} ONLINE_FEATURES_POSTGRES={shlex.quote(postgres_uri)}",
            f"          {os.path.relpath(Path(sys.executable).with_name('online-features'))} status",
            "Ctrl-C stops everything.",
            sep="\n",
            flush=True,
        )
        _trickle(flights, airflow)


def _trickle(flights: Flights, airflow: WholeAirflow) -> None:
    held_back = HELD_BACK
    while True:
        time.sleep(TRICKLE_SECONDS)
        airflow.check()
        held_back = max(held_back - TRICKLE, timedelta(0))
        flights.release(held_back)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(0)
