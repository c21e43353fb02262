"""How views are: status, show, count."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
import redis
from online_features import FeatureView, OfflineStore, OnlineStore, materialize
from online_features.errors import SourceNotFoundError
from online_features.layouts import keyspace

from tests.cli.conftest import Run
from tests.support.servers.databases import Database

LATE = timedelta(microseconds=1)  # an objective that no run can meet


def test_status_of_fresh_views(trips: FeatureView, offline: OfflineStore, online: OnlineStore, run: Run) -> None:
    materialize(trips, offline, online)
    outcome = run("status")
    assert (outcome.code, outcome.err) == (0, "")
    assert "fresh" in outcome.out
    assert "shop:trips" in outcome.out
    assert "1 of 1 views: 1 fresh" in outcome.out


def test_status_fails_when_a_view_is_late_and_names_it(
    trips: FeatureView, make_view: Callable[..., FeatureView], offline: OfflineStore, online: OnlineStore, run: Run
) -> None:
    materialize(trips, offline, online)
    materialize(make_view(name="slow", project="shop", max_staleness=LATE), offline, online)
    outcome = run("status")
    assert (outcome.code, outcome.err) == (1, "late or damaged: shop:slow\n")
    assert outcome.out.index("shop:slow") < outcome.out.index("shop:trips"), "what needs attention comes first"
    assert run("status", "trips").code == 0
    assert run("status", "--state", "fresh").code == 0
    assert run("status", "--state", "late").code == 1
    assert "slow" not in run("status", "trips").out


def test_status_as_json(trips: FeatureView, offline: OfflineStore, online: OnlineStore, run: Run) -> None:
    materialize(trips, offline, online)
    (view,) = run("status", "--json").json["views"]
    assert view["view"] == "shop:trips"
    assert (view["state"], view["is_late"], view["rows"]) == ("fresh", False, 20)
    assert view["max_staleness_seconds"] == 3600
    assert 0 <= view["lag_seconds"] < 3600
    assert view["last_run"]["rows_written"] == 20
    assert datetime.fromisoformat(view["watermark"]) <= datetime.now(UTC)


def test_an_unknown_state_is_refused(run: Run) -> None:
    outcome = run("status", "--state", "[red]late")
    assert outcome.code == 2
    assert outcome.err.startswith("Error: state '[red]late' is unknown -> choose of damaged, check failed, ")
    assert outcome.err.count("\n") == 1


def test_an_empty_redis_is_told_and_alarms(run: Run) -> None:
    outcome = run("status")
    assert (outcome.code, outcome.out) == (1, "")
    assert "holds no feature view -> is it the right server" in outcome.err
    assert run("status", "--json").json == {"views": []}
    assert run("status", "--json").code == 1
    shown = run("show", "trips")
    assert shown.code == 2
    assert "this Redis holds no feature view at all" in shown.err


def test_a_name_that_no_view_has_alarms(
    trips: FeatureView, offline: OfflineStore, online: OnlineStore, run: Run
) -> None:
    materialize(trips, offline, online)
    outcome = run("status", "trpis")
    assert (outcome.code, outcome.err) == (1, "no view's name contains 'trpis'\n")
    assert outcome.out == "0 of 1 views: none\n"
    assert run("status", "trips", "--state", "held").code == 0


def test_a_damaged_view_is_told_and_alarms(
    trips: FeatureView, make_view: Callable[..., FeatureView], offline: OfflineStore, online: OnlineStore, run: Run,
    client: redis.Redis,
) -> None:  # fmt: skip
    materialize(trips, offline, online)
    other = make_view(name="other", project="shop")
    materialize(other, offline, online)
    client.hset(keyspace.generation_key(other, online.generations(other).published), "watermark", "\x1b[31m[red]no")
    outcome = run("status")
    assert (outcome.code, outcome.err) == (1, "late or damaged: shop:other\n")
    assert "\x1b" not in outcome.out
    shown = run("show", "other")
    assert shown.code == 0
    assert "damaged" in shown.out
    assert run("show", "other", "--json").json["state"] == "damaged"
    assert "Error: " in run("get", "other", "id=1").err


def test_show_tells_what_redis_holds_of_a_view(
    trips: FeatureView, offline: OfflineStore, online: OnlineStore, run: Run
) -> None:
    materialize(trips, offline, online, origin={"dag_id": "nightly", "task_id": "load"})
    outcome = run("show", "trips")
    assert outcome.code == 0
    for told in ("fresh", "1:00:00", "msgpack", "success, full, 20 rows written", "double precision", "nightly"):
        assert told in outcome.out
    told = run("show", "shop:trips", "--json").json
    assert (told["layout"], told["table"], told["transform"]) == ("msgpack", "rows", None)
    assert {"name": "id", "type": "bigint", "part": "join key"} in told["columns"]
    assert told["written_by"] == {"dag_id": "nightly", "task_id": "load"}


def test_show_tells_why_the_last_run_failed(
    trips: FeatureView, offline: OfflineStore, online: OnlineStore, run: Run, rows: Database
) -> None:
    materialize(trips, offline, online)
    rows("DROP TABLE rows")
    with pytest.raises(SourceNotFoundError):
        materialize(trips, offline, online)
    outcome = run("show", "trips")
    assert "run failed" in outcome.out
    assert "does not exist" in outcome.out


@pytest.mark.layouts
def test_count_tells_rows_from_tombstones(
    make_view: Callable[..., FeatureView], rows: Database, offline: OfflineStore, online: OnlineStore, run: Run,
    layout: str,
) -> None:  # fmt: skip
    view = make_view()
    materialize(view, offline, online)
    online.delete(view, [{"id": 3}, {"id": 4}])
    told = run("count", "view", "--json").json
    assert (told["rows"], told["tombstones"]) == (18, 0 if layout == "feast" else 2)
    assert told["generation"] == online.generations(view).published
    assert "18" in run("count", "view").out


def test_a_view_in_two_projects_is_to_be_named_in_full(
    trips: FeatureView, make_view: Callable[..., FeatureView], offline: OfflineStore, online: OnlineStore, run: Run
) -> None:
    materialize(trips, offline, online)
    materialize(make_view(name="trips", project="lab"), offline, online)
    outcome = run("count", "trips")
    assert outcome.code == 2
    assert "name one of lab:trips, shop:trips" in outcome.err
    assert run("count", "lab:trips").code == 0
