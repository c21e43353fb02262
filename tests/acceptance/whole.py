"""A whole Airflow, as its REST API shows it."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar
from urllib.parse import quote, urlencode

from demo.whole_airflow import WholeAirflow

PATIENCE = 180.0  # seconds

Found = TypeVar("Found")


class Api:
    """Airflow's REST API, asked by an administrator, or by whom the login names."""

    def __init__(self, airflow: WholeAirflow, **login: str) -> None:
        self._airflow = airflow
        self._token = ""
        asked = self._ask("POST", "/auth/token", login) if login else self._ask("GET", "/auth/token")
        self._token = asked["access_token"]

    def get(self, path: str, **query: Any) -> Any:
        """What is at the path."""
        return self._ask("GET", f"/api/v2/{path}?{urlencode(query)}")

    def post(self, path: str, body: Any) -> Any:
        """The answer to the body."""
        return self._ask("POST", f"/api/v2/{path}", body)

    def trigger(self, dag_id: str) -> str:
        """Start a run of a DAG by hand, and tell its id."""
        run: dict[str, Any] = self.post(f"dags/{dag_id}/dagRuns", {"logical_date": None})
        return str(run["dag_run_id"])

    def runs(self, dag_id: str, **of: Any) -> list[dict[str, Any]]:
        """Runs of a DAG, the newest first, with these values."""
        runs = self.get(f"dags/{dag_id}/dagRuns", order_by="-run_after", limit=100)["dag_runs"]
        return [run for run in runs if all(run[name] == value for name, value in of.items())]

    def task(self, dag_id: str, run_id: str, task_id: str) -> dict[str, Any]:
        """A task of a run."""
        task: dict[str, Any] = self.get(f"dags/{dag_id}/dagRuns/{quote(run_id)}/taskInstances/{task_id}")
        return task

    @contextmanager
    def paused(self, *dag_ids: str) -> Iterator[None]:
        """Keep DAGs from starting tasks; those that run already end first."""
        try:
            for dag_id in dag_ids:
                self._pause(dag_id, True)
            self.wait_for("tasks to end", lambda: not any(self._busy(dag_id) for dag_id in dag_ids))
            yield
        finally:
            for dag_id in dag_ids:
                self._pause(dag_id, False)

    def xcom(self, dag_id: str, run_id: str, task_id: str) -> Any:
        """What a task has returned."""
        return self.get(f"dags/{dag_id}/dagRuns/{quote(run_id)}/taskInstances/{task_id}/xcomEntries/return_value")[
            "value"
        ]

    def wait_for(self, what: str, find: Callable[[], Found | None]) -> Found:
        """What is found when it is there; fails, with the state of all runs, when that takes too long."""
        deadline = time.monotonic() + PATIENCE
        while not (found := find()):
            self._airflow.check()
            assert time.monotonic() < deadline, f"waited for {what}; there is {self._all_runs()}"
            time.sleep(1)
        return found

    def wait_for_run(self, dag_id: str, **of: Any) -> dict[str, Any]:
        """A run with these values that has succeeded."""

        def succeeded() -> dict[str, Any] | None:
            failed = self.runs(dag_id, state="failed", **of)
            assert not failed, failed
            return next(iter(self.runs(dag_id, state="success", **of)), None)

        return self.wait_for(f"a run of {dag_id} with {of}", succeeded)

    def _pause(self, dag_id: str, paused: bool) -> None:
        self._ask("PATCH", f"/api/v2/dags/{dag_id}?update_mask=is_paused", {"is_paused": paused})

    def _busy(self, dag_id: str) -> bool:
        tasks = self.get(f"dags/{dag_id}/dagRuns/~/taskInstances", limit=100, order_by="-id")["task_instances"]
        return any(task["state"] in ("queued", "running") for task in tasks)

    def _all_runs(self) -> list[tuple[str, str, str]]:
        return [(run["dag_id"], run["dag_run_id"], run["state"]) for run in self.runs("~")]

    def _ask(self, method: str, path: str, body: Any = None) -> Any:
        request = urllib.request.Request(
            self._airflow.url + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json", "Authorization": f"Bearer {self._token}"},
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{method} {path}: {error.code} {error.read().decode()}") from error
