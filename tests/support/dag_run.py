"""Runs of tasks in this process, without Airflow's."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from airflow.sdk import Asset
from airflow.sdk.bases.operator import BaseOperator


class Events(defaultdict[str, SimpleNamespace]):
    """Asset events of a task, by the asset, and by the name of its view."""

    def __init__(self) -> None:
        super().__init__(SimpleNamespace)

    def __getitem__(self, asset: Asset | str) -> SimpleNamespace:
        return super().__getitem__(asset if isinstance(asset, str) else asset.uri.rpartition("/")[2])


@dataclass
class Run:
    """A DAG run in this process: tasks find what tasks before them have returned."""

    dag_id: str = "d"
    run_id: str = "run"
    results: dict[str, list[Any]] = field(default_factory=dict)
    states: dict[str, str] = field(default_factory=dict)
    pushed: dict[str, Any] = field(default_factory=dict)
    events: Events = field(default_factory=Events)

    def execute(self, task: BaseOperator) -> Any:
        """Execute a task of the run."""
        ti = SimpleNamespace(
            dag_id=self.dag_id, run_id=self.run_id, task_id=task.task_id, map_index=-1, try_number=1,
            xcom_pull=lambda task_ids: self.results.get(*task_ids, [None]),
            xcom_push=lambda key, value: self.pushed.update({key: value}),
            get_task_states=lambda task_ids, **_: {self.run_id: {each: self.states[each] for each in task_ids}},
        )  # fmt: skip
        self.events = Events()
        context: Any = {"ti": ti, "outlet_events": self.events}
        self.states[task.task_id] = "skipped"
        returned = task.execute(context)
        self.states[task.task_id] = "success"
        self.results.setdefault(task.task_id, []).append(returned)
        return returned
