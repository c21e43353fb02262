"""The code of both READMEs runs as it stands, on the test's own servers."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from airflow.sdk import DAG

from demo.workplace import PROJECT
from tests.support.servers.databases import Database

README = (PROJECT / "README.md").read_text()
LONGEST = 160


@pytest.fixture
def names(database: Database, redis_url: str, project: str) -> Callable[[str], dict[str, Any]]:
    """Runs the code of a page, and returns the names that it has defined, and ``shown``."""
    database(
        "CREATE TABLE flights AS SELECT 'N14228' AS tailnum, 2 AS dep_delay, 1400 AS distance, "
        "now() - interval '1 hour' AS event_timestamp, now() AS created_at"
    )

    def names(page: str) -> dict[str, Any]:
        code = "".join(re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL))
        for written, ours in {
            "redis://localhost:6379/0": redis_url,
            "postgresql://user:password@localhost/features": database.uri,
            "FeatureView(\n": f"FeatureView(project={project!r},\n",
            "row.status, row.values": "shown = row.status, row.values",
        }.items():
            code = code.replace(written, ours)
        found: dict[str, Any] = {"__name__": "example"}
        exec(code, found)
        return found

    return names


def test_the_code_of_the_readme_runs(names: Callable[[str], dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    dags: list[DAG] = []
    monkeypatch.setattr(DAG, "__enter__", lambda dag, enter=DAG.__enter__: dags.append(dag) or enter(dag))
    found = names(README)
    assert found["shown"] == ("present", {"dep_delay": 2, "distance": 1400})
    assert [task.task_id for task in dags[0].tasks] == ["plane_trips.materialize", "plane_trips.is_fresh"]
    (after,) = found["online"].get_online_features(found["plane_trips"], [{"tailnum": "N14228"}])
    assert after.status == "not_found"


def test_the_code_of_the_readme_of_the_engine_runs(names: Callable[[str], dict[str, Any]]) -> None:
    found = names((PROJECT / "engine" / "README.md").read_text())
    assert found["shown"] == ("present", {"dep_delay": 2, "distance": 1400})


def test_the_readme_is_short() -> None:
    assert len(README.splitlines()) <= LONGEST
