"""The guide to sensors is true: its examples are DAGs, and its metrics are those that are emitted."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from airflow.sdk import DAG
from online_features.online.read.entity_freshness_check import _Tally
from online_features.online.read.freshness import Freshness
from online_features.online.read.online_rows import OnlineRow
from online_features.online.read.view_freshness_check import ViewFreshnessCheck, ViewStatus
from online_features_provider import metrics

from demo.workplace import PROJECT
from tests.support.views import VIEW

GUIDE = (PROJECT / "docs" / "sensors.md").read_text()
EXAMPLES = re.findall(r"^```python\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL)
NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize("example", EXAMPLES)
def test_examples_are_dags_or_operators(example: str) -> None:
    names: dict[str, Any] = {"__name__": "example"}
    exec(example, names)
    dags = [made for made in names.values() if isinstance(made, DAG)]
    assert dags or "AfterFreshness" in names


def test_the_metrics_are_those_that_are_emitted(monkeypatch: pytest.MonkeyPatch) -> None:
    emitted: set[str] = set()
    monkeypatch.setattr(metrics.Stats, "gauge", lambda name, *_, **__: emitted.add(name))
    fresh = Freshness(watermark=NOW, max_event_timestamp=NOW, materialized_at=NOW, now=NOW)
    of_view = ViewFreshnessCheck(view=VIEW, at_least=NOW).evaluate(ViewStatus(freshness=fresh, known_ids=None))
    tally = _Tally(VIEW, NOW, timedelta(hours=1))
    tally.add([OnlineRow(entity={"id": 1}, status="present", event_timestamp=NOW, values={})])
    for finding in (of_view, tally.result(1.0)):
        metrics.emit_measured(VIEW, finding.measured)
    rows = "".join(re.findall(r"^\| `online_features\..*\|$", GUIDE, re.MULTILINE))
    told = {name.replace("…", "online_features.entities") for name in re.findall(r"`([\w.…]+)`", rows)}
    assert told == emitted
    for used in re.findall(r"airflow_(online_features_\w+)", GUIDE):
        assert used.replace("online_features_", "online_features.", 1) in emitted
