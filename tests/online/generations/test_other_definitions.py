"""Producers, readers and erasers that know a view otherwise than it is online: a deploy is under way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import redis
from online_features import FeatureView, OfflineStore, OnlineStore, Progress, materialize
from online_features.errors import InvalidRowsError

from tests.conftest import at
from tests.support.layouts import LAYOUTS_OF_EVERY_TYPE
from tests.support.online import names_buried, names_online, row_key
from tests.support.servers.databases import Database

pytestmark = pytest.mark.layouts

MakeView = Callable[..., FeatureView]

OTHER: dict[str, Any] = {"msgpack": "hash", "hash": "json", "json": "feast", "feast": "hash"}


@pytest.fixture
def view(database: Database, make_view: MakeView) -> FeatureView:
    database("CREATE TABLE rows (id bigint, k bigint, ts timestamptz, x int, y int)")
    database("INSERT INTO rows VALUES (2, 9, %s, 1, 1), (9, 2, %s, 2, 2)", at(1), at(1))
    return make_view(entities=["id", "k"], features=["x", "y"])


def row(id: int, k: int, hour: int, **values: Any) -> dict[str, Any]:  # noqa: A002
    return {"id": id, "k": k, "ts": at(hour), **values}


def test_rows_of_other_entities_or_of_feasts_layout_are_not_pushed(
    view: FeatureView, offline: OfflineStore, online: OnlineStore
) -> None:
    materialize(view, offline, online)
    for other, online_is in (
        (replace(view, entities=["k", "id"]), r"entities \['id', 'k'\]"),
        (replace(view, layout="hash" if view.layout == "feast" else "feast"), f"layout '{view.layout}'"),
    ):
        with pytest.raises(InvalidRowsError, match=f"what is online has {online_is}; materialize it first"):
            online.push(other, [row(2, 9, 5, x=7, y=7)])
    rows = online.get_online_features(view, [{"id": 2, "k": 9}, {"id": 9, "k": 2}])
    assert [found.values["x"] for found in rows] == [1, 2]


@pytest.mark.layouts(*LAYOUTS_OF_EVERY_TYPE)
def test_a_producer_of_another_layout_writes_in_the_one_that_is_online(
    view: FeatureView, offline: OfflineStore, online: OnlineStore, client: redis.Redis
) -> None:
    materialize(view, offline, online)
    key = row_key(client, view, ["2", "9"])
    kind = client.type(key)
    other = replace(view, layout="json" if view.layout == "hash" else "hash")
    assert online.push(other, [row(2, 9, 5, x=7, y=7)]).rows_written == 1
    assert client.type(key) == kind
    for reader in (view, other):
        assert online.get_online_features(reader, [{"id": 2, "k": 9}])[0].values == {"x": 7, "y": 7}


def test_a_producer_that_does_not_know_a_feature_yet_leaves_it_null(
    view: FeatureView, offline: OfflineStore, online: OnlineStore
) -> None:
    materialize(view, offline, online)
    assert online.push(replace(view, features=["x"]), [row(2, 9, 5, x=7)]).rows_written == 1
    assert online.get_online_features(view, [{"id": 2, "k": 9}])[0].values == {"x": 7, "y": None}


def test_entities_are_erased_in_the_layout_that_is_online(
    view: FeatureView, offline: OfflineStore, online: OnlineStore
) -> None:
    materialize(view, offline, online)
    assert online.delete(replace(view, layout=OTHER[view.layout]), [{"id": 2, "k": 9}]) == 1
    assert materialize(view, offline, online, full=True).rows_stale == 1
    assert online.get_online_features(view, [{"id": 2, "k": 9}])[0].status == "not_found"


def test_nothing_is_written_under_types_that_a_run_has_changed(
    database: Database, view: FeatureView, offline: OfflineStore, online: OnlineStore, redis_url: str
) -> None:
    database("ALTER TABLE rows ALTER x TYPE float8")
    producer = OnlineStore.from_url(redis_url)
    materialize(view, offline, online)
    producer.push(view, [row(3, 3, 1, x=1.0, y=1)])
    database("ALTER TABLE rows ALTER x TYPE int")
    materialize(view, offline, online)
    with pytest.raises(InvalidRowsError, match="column 'x': 2.5 is not of type integer"):
        producer.push(view, [row(2, 9, 5, x=2.5, y=1)])
    assert online.get_online_features(view, [{"id": 2, "k": 9}])[0].values == {"x": 1, "y": 1}


@pytest.mark.parametrize("kind", ["int", "numeric", "text"])
def test_erased_entities_stay_gone_when_their_join_key_changes_its_type(
    database: Database, make_view: MakeView, offline: OfflineStore, online: OnlineStore, kind: str
) -> None:
    if make_view().layout == "feast" and kind == "numeric":
        kind = "smallint"  # Feast has no join keys of type numeric
    database(
        "CREATE TABLE rows AS SELECT i::bigint AS id, %s::timestamptz AS ts, 1 AS x FROM generate_series(1, 2) i", at(1)
    )
    view = make_view()
    materialize(view, offline, online)
    online.delete(view, [{"id": 1}])
    database(f"ALTER TABLE rows ALTER id TYPE {kind}")
    assert materialize(view, offline, online, full=True).rows_stale == 1
    key = "1" if kind == "text" else 1
    assert online.get_online_features(view, [{"id": key}])[0].status == "not_found"


def test_erased_entities_stay_gone_when_the_entities_change_their_order(
    view: FeatureView, offline: OfflineStore, online: OnlineStore
) -> None:
    materialize(view, offline, online)
    online.delete(view, [{"id": 2, "k": 9}])
    turned = replace(view, entities=["k", "id"])
    assert materialize(turned, offline, online).rows_stale == 1
    statuses = [found.status for found in online.get_online_features(turned, [{"id": 2, "k": 9}, {"id": 9, "k": 2}])]
    assert statuses == ["not_found", "present"]


def test_an_erased_entity_that_no_longer_has_a_key_is_passed_over(
    database: Database, make_view: MakeView, offline: OfflineStore, online: OnlineStore
) -> None:
    database("CREATE TABLE rows AS SELECT '7' AS id, %s::timestamptz AS ts, 1 AS x", at(1))
    view = make_view()
    materialize(view, offline, online)
    online.delete(view, [{"id": "abc"}])
    database("ALTER TABLE rows ALTER id TYPE int USING id::int")
    for layout_after in (view.layout, OTHER[view.layout]):
        changed = replace(view, layout=layout_after)
        materialize(changed, offline, online)
        assert names_online(online, changed) == {"7"}


def test_what_is_pushed_and_erased_before_the_first_run_agrees_with_it_whatever_the_types(
    database: Database, make_view: MakeView, offline: OfflineStore, online: OnlineStore
) -> None:
    database("CREATE TABLE rows AS SELECT i AS id, %s::timestamptz AS ts, 1 AS x FROM generate_series(1, 2) i", at(1))
    view = make_view()
    online.push(view, [{"id": 1, "ts": at(5), "x": 9}, {"id": 2, "ts": at(5), "x": 9}])
    online.delete(view, [{"id": 2}])
    materialize(view, offline, online)
    (first, second) = online.get_online_features(view, [{"id": 1}, {"id": 2}])
    assert second.status == "not_found"
    # An int of Python's is a bigint before a run tells otherwise, which has other keys in Feast.
    assert first.values == {"x": 1 if view.layout == "feast" else 9}
    assert names_online(online, view) == {"1"}
    assert "2" in names_buried(online, view)


@pytest.mark.layouts("feast")
@pytest.mark.parametrize("kind", ["timestamptz", "timestamp", "date"])
def test_a_view_by_time_can_leave_feasts_layout(
    database: Database, make_view: MakeView, offline: OfflineStore, online: OnlineStore, kind: str
) -> None:
    database(f"CREATE TABLE rows AS SELECT timestamptz '2026-01-01 00:00+00'::{kind} AS id, now() AS ts, 1 AS x")
    view = make_view()
    materialize(view, offline, online)
    ((key,),) = database("SELECT id FROM rows")
    assert online.delete(view, [{"id": key}]) == 1
    after = replace(view, layout="hash")
    assert materialize(after, offline, online).rows_stale == 1
    assert online.get_online_features(after, [{"id": key}])[0].status == "not_found"


@pytest.mark.layouts("feast")
def test_a_key_that_feast_cannot_hold_is_refused(
    database: Database, make_view: MakeView, offline: OfflineStore, online: OnlineStore
) -> None:
    database("CREATE TABLE rows AS SELECT 1 AS id, now() AS ts, 1 AS x")
    view = make_view()
    materialize(view, offline, online)
    for ask in (online.get_online_features, online.delete):
        with pytest.raises(InvalidRowsError, match="column 'id': '2147483648' is not of Feast's type Int32"):
            ask(view, [{"id": 2**31}])


@pytest.mark.layouts(*LAYOUTS_OF_EVERY_TYPE)
def test_a_layout_of_text_ends_rows_where_feasts_does_not(
    database: Database, make_view: MakeView, offline: OfflineStore, online: OnlineStore
) -> None:
    database("CREATE TABLE rows AS SELECT 1 AS id, %s::timestamptz AS ts, 1 AS x", datetime.now(UTC) - timedelta(2))
    view = make_view(ttl=timedelta(days=1))
    assert materialize(view, offline, online).rows_expired == 1
    assert materialize(replace(view, layout="feast"), offline, online).rows_written == 1


def test_a_view_that_is_changed_back_after_its_run_broke_off_is_written_anew(
    database: Database, make_view: MakeView, offline: OfflineStore, online: OnlineStore
) -> None:
    database("CREATE TABLE rows AS SELECT i AS id, %s AS ts, 1 AS a, 2 AS b FROM generate_series(1, 300) AS i", at(1))
    whole, part = make_view(features=["a", "b"]), make_view(features=["b"])
    materialize(whole, offline, online)

    def break_off(progress: Progress) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        materialize(part, offline, online, batch_rows=100, on_progress=break_off)
    materialize(whole, offline, online)
    rows = online.get_online_features(whole, [{"id": i} for i in range(1, 301)])
    assert {tuple(row.values.items()) for row in rows} == {(("a", 1), ("b", 2))}
