"""The README's code runs as it stands, on the test's own servers."""

from __future__ import annotations

import re
from typing import Any

import pytest
from airflow.sdk import DAG

from demo.workplace import PROJECT
from tests.support.servers.databases import Database

README = (PROJECT / "README.md").read_text()
LONGEST = 160


@pytest.fixture
def code(database: Database, redis_url: str, project: str) -> str:
    text = "".join(re.findall(r"^```python\n(.*?)^```$", README, re.MULTILINE | re.DOTALL))
    text = text.replace("redis://localhost:6379/0", redis_url).replace(
        "FeatureView(\n", f"FeatureView(project={project!r},\n"
    )
    return text.replace("postgresql://user:password@localhost/features", database.uri)


def test_the_code_of_the_readme_runs(code: str, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    database(
        "CREATE TABLE flights AS SELECT 'N14228' AS tailnum, 2 AS dep_delay, 1400 AS distance, "
        "now() - interval '1 hour' AS event_timestamp, now() AS created_at"
    )
    dags: list[DAG] = []
    monkeypatch.setattr(DAG, "__enter__", lambda dag, enter=DAG.__enter__: dags.append(dag) or enter(dag))
    names: dict[str, Any] = {"__name__": "example"}
    exec(code.replace("row.status, row.values", "shown = row.status, row.values"), names)
    assert names["shown"] == ("present", {"dep_delay": 2, "distance": 1400})
    assert [task.task_id for task in dags[0].tasks] == ["plane_trips.materialize", "plane_trips.is_fresh"]
    (after,) = names["online"].get_online_features(names["plane_trips"], [{"tailnum": "N14228"}])
    assert after.status == "not_found"


def test_the_readme_is_short() -> None:
    assert len(README.splitlines()) <= LONGEST
