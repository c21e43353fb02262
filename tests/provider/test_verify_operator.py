"""The operator fails when more rows differ than is accepted, and says which."""

from __future__ import annotations

import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException, Stats
from online_features import FeatureView, OfflineStore, OnlineStore, materialize
from online_features.errors import OptionError
from online_features.verification import _comparison as comparison
from online_features_provider.operators.verify import VerifyOperator

from tests.conftest import at
from tests.support.servers.databases import Database
from tests.support.views import VIEW


@pytest.fixture
def view(
    database: Database,
    offline: OfflineStore,
    online: OnlineStore,
    make_view: Callable[..., FeatureView],
    connections: None,
    monkeypatch: pytest.MonkeyPatch,
) -> FeatureView:
    """A view of four rows, two of which have changed unseen."""
    monkeypatch.setattr(comparison, "LOOK_AGAIN_SECONDS", 0.0)
    database("CREATE TABLE rows (id text, ts timestamptz, x int)")
    database("INSERT INTO rows SELECT 'e' || i, %s, i FROM generate_series(1, 4) AS i", at(0))
    view = make_view(features=["x"])
    materialize(view, offline, online)
    database("UPDATE rows SET x = 0 WHERE x <= 2")
    return view


class Task(SimpleNamespace):
    """A task instance that keeps its XComs."""

    def __init__(self) -> None:
        ids = {"dag_id": "d", "run_id": "r", "task_id": "t", "map_index": -1, "try_number": 1}
        super().__init__(**ids, xcoms={})

    def xcom_push(self, key: str, value: Any) -> None:
        self.xcoms[key] = value


def test_a_report_below_the_thresholds_is_returned(view: FeatureView, monkeypatch: pytest.MonkeyPatch) -> None:
    gauges: dict[str, Any] = {}
    monkeypatch.setattr(Stats, "gauge", lambda name, value, **_: gauges.update({name: value}))
    for thresholds in ({"different": 2}, {"different": "2", "missing": 0}, {"missing": 0}, {}):
        report = VerifyOperator(task_id="t", feature_view=view, thresholds=thresholds).execute({"ti": Task()})
        assert (report["feature_view"], report["equal"], report["different"]) == (str(view), 2, 2)
        assert json.loads(json.dumps(report)) == report
    assert (gauges["online_features.verify.equal"], gauges["online_features.verify.different"]) == (2, 2)


@pytest.mark.parametrize("thresholds, most", [(None, 0), ({"different": 1}, 1)])
def test_more_skew_than_is_accepted_fails_the_task(view: FeatureView, thresholds: Any, most: int) -> None:
    ti: Any = Task()
    found = rf"2 different \(at most {most}\) of 4 rows compared; for example different: {{'id': 'e.'}}, x is 0 off"
    with pytest.raises(AirflowFailException, match=found):
        VerifyOperator(task_id="t", feature_view=view, thresholds=thresholds, sample=None).execute({"ti": ti})
    assert ti.xcoms["report"]["different"] == 2


def test_what_is_repaired_is_recorded_with_the_task(view: FeatureView, online: OnlineStore) -> None:
    context: Any = {"ti": Task()}
    report = VerifyOperator(task_id="t", feature_view=view, repair="true", thresholds={"different": 2}).execute(context)
    assert (report["different"], report["repaired"]) == (2, 2)
    run, *_ = online.runs(view)
    assert (run["kind"], run["origin"]["task_id"]) == ("repair", "t")
    assert VerifyOperator(task_id="t", feature_view=view, sample="1").execute(context)["equal"] in (1, 2)


@pytest.mark.parametrize("thresholds, message", [
    ({"diferent": 0}, "names class 'diferent', which is unknown -> choose of missing, extra, behind, different, unrea"),
    ({"ahead": 0}, "names class 'ahead'"),
    ({"missing": -1}, "not negative"),
    ({"missing": True}, "not negative"),
    (["missing"], "must map classes to numbers"),
])  # fmt: skip
def test_thresholds_that_mean_nothing_are_refused_when_the_operator_is_made(thresholds: Any, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        VerifyOperator(task_id="t", feature_view=VIEW, thresholds=thresholds)
