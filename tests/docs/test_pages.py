"""Examples in DAG files and on pages are DAGs that do not wait for themselves."""

from __future__ import annotations

import re

import pytest
from airflow.sdk import DAG, BaseSensorOperator

from demo.workplace import PROJECT

PYTHON = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
DOCUMENTS = (PROJECT / "README.md", *sorted((PROJECT / "docs").glob("*.md")))
EXAMPLES = {
    **{str(path.relative_to(PROJECT)): path.read_text() for path in sorted((PROJECT / "dags_examples").glob("*.py"))},
    **{f"{path.relative_to(PROJECT)} {number}": code for path in DOCUMENTS
       for number, code in enumerate(PYTHON.findall(path.read_text())) if "MaterializeOperator(" in code},
}  # fmt: skip


@pytest.mark.parametrize(
    "name", [name for name, code in EXAMPLES.items() if "MaterializeOperator(" in code and "load_feature" not in code]
)
def test_no_example_waits_behind_its_own_run(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a sensor behind a run waits for, only the next run can bring."""
    dags: set[DAG] = set()
    monkeypatch.setattr(DAG, "__enter__", lambda dag, enter=DAG.__enter__: dags.add(dag) or enter(dag))
    exec(EXAMPLES[name], {"__name__": "example"})
    runs = [task for dag in dags for task in dag.tasks if task.task_type == "MaterializeOperator"]
    assert runs
    for run in runs:
        assert not [task for task in run.get_flat_relatives() if isinstance(task, BaseSensorOperator)]
