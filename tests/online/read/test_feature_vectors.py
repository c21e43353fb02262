"""Feature vectors: several views in one read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from online_features import FeatureView, OfflineStore, OnlineStore, materialize
from online_features.errors import AmbiguousNameError, InvalidRowsError, OnlineStoreUnavailableError, StaleFeaturesError

from tests.conftest import at
from tests.support.reading import Trips, awaited_store, reading_store
from tests.support.servers.databases import Database

pytestmark = pytest.mark.layouts

MakeView = Callable[..., FeatureView]


@pytest.fixture
def trips() -> Trips:
    return Trips()


@pytest.fixture(params=[reading_store, awaited_store])
def reader(request: pytest.FixtureRequest, redis_url: str, trips: Trips) -> Iterator[Any]:
    with request.param(redis_url, trips) as store:
        yield store


@pytest.fixture
def planes(make_view: MakeView, online: OnlineStore) -> FeatureView:
    view = make_view(name="planes", entities=["plane"])
    online.push(view, [{"plane": f"p{i}", "ts": at(1), "seats": i, "temp": 20.5} for i in range(100)])
    return view


@pytest.fixture
def weather(make_view: MakeView, online: OnlineStore) -> FeatureView:
    view = make_view(name="weather", entities=["airport", "hour"], ttl=timedelta(days=365))
    now = datetime.now(UTC)
    online.push(
        view,
        [
            {"airport": "JFK", "hour": 1, "ts": now, "temp": 30.5, "gust": None},
            {"airport": "EWR", "hour": 1, "ts": now - timedelta(days=364), "temp": 1.5, "gust": 7},
        ],
    )
    return view


JFK = {"plane": "p1", "airport": "JFK", "hour": 1}
EWR = {"plane": "p2", "airport": "EWR", "hour": 1}


def test_a_vector_holds_the_features_of_all_views_in_their_order(
    reader: Any, planes: FeatureView, weather: FeatureView
) -> None:
    first, second = reader.get_feature_vectors([planes, weather], [JFK, EWR], {"planes": ["seats"]})
    assert list(first.values.items()) == [("seats", 1), ("temp", 30.5), ("gust", None)]
    assert list(second.values.items()) == [("seats", 2), ("temp", 1.5), ("gust", 7)]
    assert first.entity == JFK
    assert first.rows["weather"].event_timestamp > at(1) == first.rows["planes"].event_timestamp
    assert first.is_complete


def test_views_are_read_in_one_round_trip(
    reader: Any, trips: Trips, planes: FeatureView, weather: FeatureView, online: OnlineStore
) -> None:
    asked = [{**JFK, "plane": f"p{i % 100}"} for i in range(2000)]
    chosen = {"planes": ["seats"]}
    reader.freshness(planes)
    assert trips.of(lambda: reader.get_feature_vectors([planes, weather], asked, chosen)) == 3
    assert trips.of(lambda: reader.get_feature_vectors([planes, weather], asked, chosen)) == 1
    vectors = reader.get_feature_vectors([planes, weather], asked, chosen)
    assert [vector.values["seats"] for vector in vectors] == [i % 100 for i in range(2000)]
    assert {vector.values["temp"] for vector in vectors} == {30.5}


def test_a_view_that_changes_is_met_anew_beside_one_that_does_not(
    database: Database,
    reader: Any,
    planes: FeatureView,
    make_view: MakeView,
    offline: OfflineStore,
    online: OnlineStore,
) -> None:
    database("CREATE TABLE rows (id text, ts timestamptz, x int)")
    database("INSERT INTO rows VALUES ('a', %s, 7)", at(1))
    view = make_view(name="changing")
    asked = [{"plane": "p1", "id": "a"}]
    assert reader.get_feature_vectors([planes, view], asked)[0].statuses == {
        "planes": "present",
        "changing": "not_found",
    }
    materialize(view, offline, online)
    assert reader.get_feature_vectors([planes, view], asked)[0].values == {"seats": 1, "temp": 20.5, "x": 7}
    database("ALTER TABLE rows ALTER x TYPE text")
    materialize(view, offline, online)
    assert reader.get_feature_vectors([planes, view], asked)[0].values == {"seats": 1, "temp": 20.5, "x": "7"}


def test_each_view_has_a_status(make_view: MakeView, reader: Any, planes: FeatureView, weather: FeatureView) -> None:
    strict = make_view(name="weather", entities=["airport", "hour"], ttl=timedelta(days=1))
    asked = [JFK, {**EWR, "plane": "nobody"}]
    fresh, stale = reader.get_feature_vectors([planes, strict], asked, {"planes": ["seats"]})
    assert fresh.statuses == {"planes": "present", "weather": "present"}
    assert stale.statuses == {"planes": "not_found", "weather": "expired"}
    assert stale.values == {"seats": None, "temp": None, "gust": None}
    assert (fresh.is_complete, stale.is_complete) == (True, False)


def test_features_of_one_name_are_refused_unless_full_names_tell_them_apart(
    reader: Any, planes: FeatureView, weather: FeatureView
) -> None:
    with pytest.raises(AmbiguousNameError, match=r"feature 'temp' occurs twice .* -> .*full_feature_names=True"):
        reader.get_feature_vectors([planes, weather], [JFK])
    (vector,) = reader.get_feature_vectors([planes, weather], [JFK], full_feature_names=True)
    assert vector.values == {"planes__seats": 1, "planes__temp": 20.5, "weather__temp": 30.5, "weather__gust": None}


def test_full_names_that_are_the_same_are_refused_too(make_view: MakeView, reader: Any, online: OnlineStore) -> None:
    views = [make_view(name="a"), make_view(name="a__b")]
    for view, feature in zip(views, ("b__c", "c"), strict=True):
        online.push(view, [{"id": "x", "ts": at(1), feature: 1}])
    with pytest.raises(AmbiguousNameError, match="'a__b__c'"):
        reader.get_feature_vectors(views, [{"id": "x"}], full_feature_names=True)
    assert reader.get_feature_vectors(views, [{"id": "x"}])[0].values == {"b__c": 1, "c": 1}


def test_views_of_one_name_are_refused(make_view: MakeView, reader: Any, planes: FeatureView) -> None:
    with pytest.raises(AmbiguousNameError, match="feature view 'planes' occurs twice"):
        reader.get_feature_vectors([planes, make_view(name="planes", project="other")], [JFK])


@pytest.mark.parametrize(
    "asked, message",
    [
        ({"features": {"plane": ["seats"]}}, "features= names feature view 'plane', which is not among views="),
        ({"features": {"planes": ["wings"]}}, "'planes': feature 'wings' is not online"),
        ({"entity_rows": [{"plane": "p1", "airport": "JFK"}]}, "'weather': entity .* lacks join key 'hour'"),
        ({"views": []}, "at least one feature view"),
    ],
)
def test_requests_that_do_not_fit_are_refused(
    reader: Any, planes: FeatureView, weather: FeatureView, asked: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidRowsError, match=message):
        reader.get_feature_vectors(**{"views": [planes, weather], "entity_rows": [JFK], **asked})


def test_every_view_must_satisfy_the_bounds(
    database: Database,
    make_view: MakeView,
    reader: Any,
    planes: FeatureView,
    offline: OfflineStore,
    online: OnlineStore,
) -> None:
    database("CREATE TABLE rows AS SELECT 'a' AS id, %s AS ts, 1 AS x", at(1))
    fresh = make_view(name="fresh")
    materialize(fresh, offline, online)
    bounds = {"max_staleness": timedelta(minutes=5), "min_watermark": at(1)}
    vectors = reader.get_feature_vectors([fresh], [{"id": "a"}], **bounds)
    assert vectors.freshness["fresh"].watermark == online.freshness(fresh).watermark
    with pytest.raises(StaleFeaturesError, match="'planes' has no watermark"):
        reader.get_feature_vectors([fresh, planes], [{"id": "a", "plane": "p1"}], **bounds)


def test_no_entities_make_no_vectors(reader: Any, planes: FeatureView, weather: FeatureView) -> None:
    vectors = reader.get_feature_vectors([planes, weather], [])
    assert list(vectors) == []
    assert set(vectors.freshness) == {"planes", "weather"}


def test_vectors_as_a_data_frame(reader: Any, planes: FeatureView, weather: FeatureView, make_view: MakeView) -> None:
    vectors = reader.get_feature_vectors([planes, weather], [JFK, EWR], {"planes": ["seats"], "weather": ["temp"]})
    frame = vectors.to_pandas()
    assert list(frame.columns) == [
        "plane", "airport", "hour", "planes__event_timestamp", "planes__status", "weather__event_timestamp",
        "weather__status", "seats", "temp",
    ]  # fmt: skip
    assert frame["temp"].tolist() == [30.5, 1.5]


def test_a_feature_named_like_a_join_key_of_another_view_hides_nothing(
    make_view: MakeView, reader: Any, planes: FeatureView, online: OnlineStore
) -> None:
    seats = make_view(name="cabins", entities=["seats"])
    online.push(seats, [{"seats": 7, "ts": at(1), "rows": 2}])
    vectors = reader.get_feature_vectors([planes, seats], [{"plane": "p1", "seats": 7}])
    assert vectors[0].values == {"seats": 1, "temp": 20.5, "rows": 2}
    with pytest.raises(AmbiguousNameError, match="column 'seats' occurs twice"):
        vectors.to_pandas()


def test_a_failure_names_the_views(planes: FeatureView, weather: FeatureView) -> None:
    nobody = OnlineStore.from_url("redis://127.0.0.1:1/0")
    with pytest.raises(OnlineStoreUnavailableError, match="feature views 'planes', 'weather', Redis: .* -> "):
        nobody.get_feature_vectors([planes, weather], [JFK])
