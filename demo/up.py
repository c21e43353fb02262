"""``make up``: a whole Airflow on the example DAGs, with new flights trickling in, until Ctrl-C."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import timedelta
from pathlib import Path

from online_features.embedded import embedded_postgres, free_port, postgres_server, redis_server

from demo.airflow import DemoAirflow
from demo.flights import Flights
from demo.workplace import unwind_on_signals, workplace

HELD_BACK = timedelta(days=3)
TRICKLE = timedelta(minutes=10)  # of flights, released every TRICKLE_SECONDS
TRICKLE_SECONDS = 10.0
START_SECONDS = 180.0
STOP_SECONDS = 20.0

LOCAL = "127.0.0.1"


def main() -> None:
    """Run until Ctrl-C.

    :raises SystemExit: when a part of Airflow stops by itself.
    """
    unwind_on_signals()
    with ExitStack() as stack:
        folder = stack.enter_context(workplace("up"))
        postgres_uri = stack.enter_context(postgres_server(folder))
        redis_url = stack.enter_context(redis_server(folder))
        (folder / "metadata").mkdir()
        metadata_uri = stack.enter_context(embedded_postgres(folder / "metadata"))
        port = free_port()
        airflow = DemoAirflow(
            folder / "airflow",
            postgres_uri=postgres_uri,
            redis_url=redis_url,
            AIRFLOW__DATABASE__SQL_ALCHEMY_CONN=metadata_uri.replace("postgresql:", "postgresql+psycopg2:"),
            AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS="true",
            AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION="false",
            AIRFLOW__CORE__EXECUTOR="LocalExecutor",
            AIRFLOW__CORE__PARALLELISM="4",
            AIRFLOW__API__BASE_URL=f"http://{LOCAL}:{port}",
            AIRFLOW__API__WORKERS="1",
        )
        flights = Flights(postgres_uri)
        print("Loading flights and making Airflow's metadata database …", flush=True)
        flights.stage()
        flights.release(HELD_BACK)
        airflow.run("db", "migrate")
        parts = []
        for arguments in (
            ("api-server", "--host", LOCAL, "--port", str(port)),
            ("scheduler", "--skip-serve-logs"),
            ("dag-processor",),
            ("triggerer", "--skip-serve-logs"),
        ):
            parts.append(stack.enter_context(_running(airflow, folder / f"{arguments[0]}.log", *arguments)))
            # Tasks talk to the API server, so it answers before the scheduler starts any.
            _wait_for(f"http://{LOCAL}:{port}/api/v2/monitor/health", parts[0])
        print(f"Airflow   http://{LOCAL}:{port}", f"Postgres  {postgres_uri}", f"Redis     {redis_url}",
              f"Logs      {os.path.relpath(folder)}", "Ctrl-C stops everything.", sep="\n", flush=True)  # fmt: skip
        _trickle(flights, parts)


def _wait_for(url: str, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except OSError as error:
            if server.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"{server.args!r} does not answer at {url}: {error}") from error
            time.sleep(0.2)


def _trickle(flights: Flights, parts: list[subprocess.Popen[bytes]]) -> None:
    held_back = HELD_BACK
    while True:
        time.sleep(TRICKLE_SECONDS)
        for part in parts:
            if part.poll() is not None:
                raise SystemExit(f"{part.args!r} stopped by itself with exit code {part.returncode}")
        held_back = max(held_back - TRICKLE, timedelta(0))
        flights.release(held_back)


@contextmanager
def _running(airflow: DemoAirflow, log: Path, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    setpriv = shutil.which("setpriv")
    dies_with_us = [setpriv, "--pdeathsig", "TERM"] if setpriv else []
    with log.open("wb") as output:
        part = subprocess.Popen(
            [*dies_with_us, "airflow", *arguments],
            env=airflow.environment, stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
    try:
        yield part
    finally:
        _stop(part)


def _stop(part: subprocess.Popen[bytes]) -> None:
    """End the process and every one that it has started."""
    part.terminate()
    with suppress(subprocess.TimeoutExpired):
        part.wait(STOP_SECONDS)
    with suppress(ProcessLookupError):
        os.killpg(part.pid, signal.SIGKILL)
    part.wait()


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(0)
