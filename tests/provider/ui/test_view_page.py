"""The page of a view."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import redis
from fastapi.testclient import TestClient
from online_features import ChecksFailedError, FeatureView, OfflineStore, OnlineStore, checks, materialize, verify
from online_features.common.instants import to_text
from online_features.layouts import keyspace
from online_features.statistics.view_statistics import CommonValue, FeatureStatistics, Histogram, ViewStatistics
from online_features_provider.ui.movements import movements
from online_features_provider.ui.plots import lag_points, lag_ticks
from online_features_provider.ui.view_page import Run

from tests.conftest import at
from tests.provider.ui.conftest import Page
from tests.support.servers.databases import Database

pytestmark = pytest.mark.oldest

ORIGIN = {"dag_id": "nightly & co", "run_id": "manual__1/2", "task_id": "build", "map_index": 3, "try_number": 1}


@pytest.fixture
def view(
    rows: Database, make_view: Callable[..., FeatureView], offline: OfflineStore, online: OnlineStore
) -> FeatureView:
    """A view that was built twice, between which its values moved."""
    view = make_view(layout="msgpack", max_staleness=timedelta(hours=1), checks=[checks.rows(at_least=10)])
    materialize(view, offline, online, full=True, origin=ORIGIN)
    rows("UPDATE rows SET b = b + 100, a = CASE WHEN id < 8 THEN NULL ELSE a END")
    materialize(view, offline, online, full=True, origin=ORIGIN)
    return view


def html_of(browser: TestClient, view: FeatureView, **query: str) -> str:
    found = browser.get(f"/views/online_store/{view.project}/{view.name}", params=query)
    assert found.status_code == 200, found.text
    return found.text


def compared_in(html: str) -> list[str]:
    """The generations whose statistics are side by side."""
    return re.findall(r'<th scope="colgroup" colspan="4"><code>(\w+)</code>', html)


def test_a_view_shows_its_state_schema_statistics_checks_generations_and_runs(
    view: FeatureView, browser: TestClient, online: OnlineStore
) -> None:
    html = html_of(browser, view)
    page = Page(html)
    for words in ("fresh", "of 1 h", "double precision", "join key", "rows(at_least=10)", "passed", "35.0%",
                  "b mean moved", "a nulls, values moved", "full", "unpublished", "published"):  # fmt: skip
        assert words in page.text, words
    assert html.count('class="pygal-chart"') == 3
    assert html.count('class="histogram"') == 2
    assert "<script type" not in html
    assert page.links["nightly & co: build"] == "/dags/nightly%20%26%20co/runs/manual__1%2F2/tasks/build/mapped/3"
    assert 'target="_top"' in html
    before = online.generations(view).generations[1].id
    assert f"online-features rollback {view.project}:{view.name} --conn-id online_store" in page.text
    assert f"go back to generation {before}" in page.text


def test_a_view_whose_first_build_was_refused_shows_why(
    rows: Database, make_view: Callable[..., FeatureView], offline: OfflineStore, online: OnlineStore,
    browser: TestClient,
) -> None:  # fmt: skip
    view = make_view(layout="msgpack", checks=[checks.rows(at_least=100)])
    with pytest.raises(ChecksFailedError):
        materialize(view, offline, online, full=True)
    page = Page(html_of(browser, view))
    for words in ("check failed", "rows(at_least=100)", "refused", "--ignore-checks"):
        assert words in page.text, words
    found = browser.get(f"/entities/online_store/{view.project}/{view.name}", params={"key.id": "3"})
    assert found.status_code == 200
    assert "not found" in Page(found.text).text


def test_a_refused_build_is_compared_with_what_is_published(
    view: FeatureView, rows: Database, offline: OfflineStore, online: OnlineStore, browser: TestClient
) -> None:
    rows("DELETE FROM rows WHERE id > 5")
    with pytest.raises(ChecksFailedError):
        materialize(view, offline, online, full=True)
    _, first, published, refused = (known.id for known in online.generations(view).generations)
    html = html_of(browser, view)
    assert compared_in(html) == [published, refused]
    page = Page(html)
    assert "check failed" in page.text
    assert f"--generation view={refused} --ignore-checks" in page.text
    assert "at least 10" in page.text
    assert "ChecksFailedError" in page.text
    assert compared_in(html_of(browser, view, compared=first)) == [first, published]


def test_a_view_that_was_rolled_back_says_how_to_release_it(
    view: FeatureView, online: OnlineStore, browser: TestClient
) -> None:
    online.rollback([view], origin={"dag_id": "d", "task_id": "t"})
    page = Page(html_of(browser, view))
    assert "held" in page.text
    assert "online-features release" in page.text


def test_the_last_verification_is_shown(
    view: FeatureView, rows: Database, offline: OfflineStore, online: OnlineStore, browser: TestClient
) -> None:
    rows("DELETE FROM rows WHERE id < 3")
    verify(view, offline, online, record=True)
    assert "20 rows compared, 18 equal, 2 extra" in Page(html_of(browser, view)).text


def test_views_that_were_pushed_to_or_are_damaged_or_unknown_have_a_page(
    make_view: Callable[..., FeatureView], online: OnlineStore, client: redis.Redis, browser: TestClient, project: str
) -> None:
    view = make_view(layout="msgpack", features=["a"])
    online.push(view, [{"id": 1, "ts": datetime.now(UTC), "a": "x"}])
    page = Page(html_of(browser, view))
    assert "it was never materialized" in page.text
    assert "No run is recorded" in page.text
    client.hset(keyspace.published_key(project), "view", "?")
    assert "is damaged" in Page(html_of(browser, view)).text
    for path in (f"online_store/{project}/other", f"other_store/{project}/view"):
        found = browser.get(f"/views/{path}")
        assert found.status_code == 404
        assert "other" in found.text


def test_what_redis_holds_is_escaped(view: FeatureView, client: redis.Redis, browser: TestClient) -> None:
    hostile = "<img src=x onerror=alert(1)>\"'"
    key = keyspace.runs_key(view)
    record = json.loads(client.lindex(key, 0))
    record |= {"outcome": hostile, "error": hostile, "origin": {"dag_id": hostile, "task_id": hostile, "run_id": "x"}}
    record["checks"] = [{"check": hostile, "outcome": hostile, "expected": hostile, "found": hostile,
                         "published": hostile, "reason": hostile}]  # fmt: skip
    client.lset(key, 0, json.dumps(record))
    html = html_of(browser, view)
    assert "<img" not in html
    assert "&lt;img src=x" in html


def run(ended: int, watermark: int | None, *, began: int | None = None, outcome: str = "success", runs: int = 1) -> Run:
    record = {"run_id": "r", "outcome": outcome, "seconds": 1, "began": to_text(at(0, began or ended)),
              "ended": to_text(at(0, ended)), "runs": runs,
              "watermark": None if watermark is None else to_text(at(0, watermark))}  # fmt: skip
    return Run.of(record)


@pytest.mark.parametrize(
    "runs, points",
    [
        ([], []),
        ([run(5, None)], []),
        ([run(5, 4)], [(5, 1), (5, 1), (20, 16)]),
        ([run(5, 4), run(10, 4, outcome="SourceError"), run(15, 14)],
         [(5, 1), (5, 1), (15, 11), (15, 1), (15, 1), (20, 6)]),
        ([run(5, 4), run(15, 14, began=10, runs=5)], [(5, 1), (5, 1), (10, 6), (10, 1), (15, 1), (20, 6)]),
    ],
    ids=["none", "no watermark", "one", "a failed one moves nothing", "several in one record"],
)  # fmt: skip
def test_lag_grows_until_a_run_moves_the_watermark(runs: Sequence[Run], points: list[tuple[int, int]]) -> None:
    assert lag_points(runs[::-1], at(0, 20)) == [(at(0, minute), 60.0 * lag) for minute, lag in points]


@pytest.mark.parametrize(
    "greatest, ticks",
    [
        (0.0, [0]),
        (0.3, [0, 1]),
        (46, [0, 10, 20, 30, 40, 50]),
        (86_400, [0, 21_600, 43_200, 64_800, 86_400]),
        (30 * 86_400, [0, 432_000, 864_000, 1_296_000, 1_728_000, 2_160_000, 2_592_000]),
    ],
)
def test_lags_are_marked_at_round_durations(greatest: float, ticks: list[float]) -> None:
    assert lag_ticks(greatest) == ticks


def feature(**measured: Any) -> ViewStatistics:
    return ViewStatistics(
        rows=100, sampled=100, features={"f": FeatureStatistics(type="text", rows=100, **{"nulls": 0, **measured})}
    )


@pytest.mark.parametrize(
    "older, newer, moved",
    [
        ({"nulls": 1}, {"nulls": 1}, set()),
        ({"nulls": 1}, {"nulls": 2}, {"nulls"}),
        ({"mean": 1.0, "deviation": 4.0}, {"mean": 2.0, "deviation": 4.0}, set()),
        ({"mean": 1.0, "deviation": 4.0}, {"mean": 2.1, "deviation": 4.0}, {"mean"}),
        ({"mean": 1.0, "deviation": 0.0}, {"mean": 1.0, "deviation": 0.0}, set()),
        ({"commonest": (CommonValue("x", 0.5),)}, {"commonest": (CommonValue("x", 0.52),)}, set()),
        ({"commonest": (CommonValue("x", 0.5),)}, {"commonest": (CommonValue("y", 0.05),)}, {"values"}),
    ],
)
def test_a_feature_has_moved_from_some_difference_on(
    older: dict[str, Any], newer: dict[str, Any], moved: set[str]
) -> None:
    (found,) = movements(feature(**older), feature(**newer))
    assert found.moved == moved


def test_histograms_of_both_generations_are_on_one_axis() -> None:
    (found,) = movements(feature(histogram=Histogram(0, 10, (1, 2))), feature(histogram=Histogram(10, 20, (4, 1))))
    assert [(bar.x, bar.width, bar.height) for bars in found.bars for bar in bars] == [
        (0, 25, 50), (25, 25, 100), (50, 25, 100), (75, 25, 25),
    ]  # fmt: skip
    (found,) = movements(None, feature(histogram=Histogram(at(1), at(1), (3,))))
    assert [(bar.x, bar.width, bar.height) for bar in found.bars[1]] == [(0, 1, 100)]
