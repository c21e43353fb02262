"""A whole Airflow: API server, scheduler, DAG processor, triggerer, and workers of its executor."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from online_features.embedded import embedded_postgres, reserved_port

from demo.airflow import DemoAirflow

START_SECONDS = 180.0
STOP_SECONDS = 20.0

LOCAL = "127.0.0.1"


@dataclass(frozen=True, kw_only=True)
class WholeAirflow:
    """A running Airflow.

    :param url: of its UI and API; each caller is an administrator.
    :param command: Airflow's command line in its environment.
    :param logs: folder of the output of its parts.
    """

    url: str
    command: DemoAirflow
    logs: Path
    _parts: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def start(self, name: str, *words: str) -> None:
        """Start a part, such as ``triggerer``.

        :param words: of Airflow's command line; by default those of the part of this name.
        """
        setpriv = shutil.which("setpriv")
        dies_with_us = [setpriv, "--pdeathsig", "TERM"] if setpriv else []
        with (self.logs / f"{name}.log").open("ab") as output:
            self._parts[name] = subprocess.Popen(
                [*dies_with_us, "airflow", *(words or (name, *self._arguments(name)))],
                env=self.command.environment, stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
        # Tasks need the API server, so wait for it before the scheduler starts any.
        _wait_for(f"{self.url}/api/v2/monitor/health", self._parts["api-server"])

    def kill(self, name: str) -> None:
        """Kill a part, as if its machine were lost."""
        part = self._parts.pop(name)
        os.killpg(part.pid, signal.SIGKILL)
        part.wait()

    def process_id(self, name: str) -> int:
        """Return the id of the process of a part."""
        return self._parts[name].pid

    def check(self, *, but: tuple[str, ...] = ()) -> None:
        """Check that all parts still run.

        :param but: names of parts that may have been killed.
        :raises SystemExit: naming a part that has stopped by itself.
        """
        for name, part in self._parts.items():
            if name not in but and part.poll() is not None:
                raise SystemExit(f"{part.args!r} stopped by itself with exit code {part.returncode}")

    def stop(self) -> None:
        """Stop all parts, the last one first."""
        while self._parts:
            _, part = self._parts.popitem()
            _stop(part)

    def _arguments(self, name: str) -> tuple[str, ...]:
        if name == "api-server":
            return ("--host", LOCAL, "--port", str(urlsplit(self.url).port))
        return () if name == "dag-processor" else ("--skip-serve-logs",)


@contextmanager
def whole_airflow(
    folder: Path, *, postgres_uri: str, redis_url: str, path: str = "", executor: str = "LocalExecutor", **settings: str
) -> Iterator[WholeAirflow]:
    """Start a whole Airflow; its metadata database is a Postgres of its own.

    :param folder: for all that it writes.
    :param postgres_uri: of the offline store.
    :param redis_url: of the online store, or an Airflow connection to it.
    :param executor: whose workers the caller starts, unless they are Airflow's own processes.
    :param path: of the URL below which it is deployed, such as ``"/team"``.
    :param settings: further environment variables, which win over its own.
    """
    with ExitStack() as stack:
        (folder / "metadata").mkdir()
        metadata_uri = stack.enter_context(embedded_postgres(folder / "metadata"))
        url = f"http://{LOCAL}:{stack.enter_context(reserved_port())}{path}"
        own = {
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": metadata_uri.replace("postgresql:", "postgresql+psycopg2:"),
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "true",
            "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "false",
            "AIRFLOW__CORE__EXECUTOR": executor,
            "AIRFLOW__CORE__PARALLELISM": "4",
            "AIRFLOW__API__BASE_URL": url,
            "AIRFLOW__API__WORKERS": "1",
            "AIRFLOW__CELERY__RESULT_BACKEND": f"db+{metadata_uri}",
        }
        command = DemoAirflow(
            folder / "airflow", postgres_uri=postgres_uri, redis_url=redis_url, **{**own, **settings}
        )  # fmt: skip
        command.run("db", "migrate")
        airflow = WholeAirflow(url=url, command=command, logs=folder)
        stack.callback(airflow.stop)
        for name in ("api-server", "scheduler", "dag-processor", "triggerer"):
            airflow.start(name)
        yield airflow


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


def _stop(part: subprocess.Popen[bytes]) -> None:
    """Stop the process and all that it has started."""
    part.terminate()
    with suppress(subprocess.TimeoutExpired):
        part.wait(STOP_SECONDS)
    with suppress(ProcessLookupError):
        os.killpg(part.pid, signal.SIGKILL)
    part.wait()
