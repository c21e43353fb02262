"""Runs DAGs one after the other in one process, and prints what Airflow has recorded of each task, as JSON.

Arguments: ``{"dag_id": …}`` with the arguments of ``DAG.test``, as JSON, once per run.
"""

from __future__ import annotations

import json
import sys
from datetime import datetime
from typing import Any

from airflow.dag_processing.dagbag import DagBag
from airflow.models.renderedtifields import RenderedTaskInstanceFields
from airflow.models.xcom import XComModel
from airflow.utils.session import create_session
from sqlalchemy import select


def run(dags: dict[str, Any], *, dag_id: str, **arguments: Any) -> list[dict[str, Any]]:
    """What became of each task of one run."""
    if arguments.get("logical_date"):
        arguments["logical_date"] = datetime.fromisoformat(arguments["logical_date"])
    dag_run = dags[dag_id].test(**arguments)
    with create_session() as session:
        return [
            {
                "task_id": task.task_id,
                "state": task.state,
                "name": task.rendered_map_index,
                "fields": _first(session, RenderedTaskInstanceFields.rendered_fields, RenderedTaskInstanceFields, task),
                **dict(session.execute(_of(task, XComModel, XComModel.key, XComModel.value)).all()),
            }
            for task in dag_run.get_task_instances(session=session)
        ]


def _first(session: Any, column: Any, model: Any, task: Any) -> Any:
    return session.execute(_of(task, model, column)).scalars().first()


def _of(task: Any, model: Any, *columns: Any) -> Any:
    return select(*columns).where(
        model.dag_id == task.dag_id, model.run_id == task.run_id,
        model.task_id == task.task_id, model.map_index == task.map_index,
    )  # fmt: skip


if __name__ == "__main__":
    bag = DagBag()
    assert not bag.import_errors, bag.import_errors
    runs = [run(bag.dags, **json.loads(argument)) for argument in sys.argv[1:]]
    sys.stdout.write("\n" + json.dumps(runs, default=str))
