"""Rows that something else than this package has damaged in Redis: what the errors offer as the cure is one."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from online_features import FeatureView, OfflineStore, OnlineStore, materialize
from online_features.errors import OnlineDataError
from online_features.online import feast_format

from tests.conftest import Database, at
from tests.layouts import layout  # noqa: F401
from tests.online import key_of

MakeView = Callable[..., FeatureView]

DAMAGED = ("yesterday", "", "9999-99-99T99:99:99.999999", "x" * 100)


@pytest.fixture
def view(database: Database, make_view: MakeView, offline: OfflineStore, online: OnlineStore) -> FeatureView:
    database("CREATE TABLE rows AS SELECT id::text, %s AS ts, 1 AS x FROM generate_series(1, 3) AS id", at(1))
    view = make_view()
    materialize(view, offline, online)
    return view


def damage(online: OnlineStore, view: FeatureView, entity: str, timestamp: str) -> None:
    key = key_of(online, view, id=entity)
    if view.layout == "json":
        online._client.set(key, f'{{"_ts":"{timestamp}","x":1}}')
    else:
        field = feast_format.timestamp_field(view.name) if view.layout == "feast" else "_ts"
        online._client.hset(key, field, timestamp.encode() or b"\xff")


def test_a_row_with_a_damaged_timestamp_is_named_and_replaced_by_a_run(
    view: FeatureView, offline: OfflineStore, online: OnlineStore
) -> None:
    for timestamp in DAMAGED:
        damage(online, view, "1", timestamp)
        with pytest.raises(OnlineDataError, match=r"\{'id': '1'\}"):
            online.get_online_features(view, [{"id": "1"}])
        assert materialize(view, offline, online, full=True).rows_written == 3
        assert online.get_online_features(view, [{"id": "1"}])[0].values == {"x": 1}


def test_an_entity_with_a_damaged_timestamp_is_erased_and_may_come_back(view: FeatureView, online: OnlineStore) -> None:
    damage(online, view, "1", "yesterday")
    assert online.delete(view, [{"id": "1"}]) == 1
    assert online.get_online_features(view, [{"id": "1"}])[0].status == "not_found"
    later = at(1).replace(year=9000)
    assert online.push(view, [{"id": "1", "ts": later, "x": 2}]).rows_written == 1


def test_a_damaged_row_that_the_source_no_longer_has_is_pruned(
    database: Database, view: FeatureView, offline: OfflineStore, online: OnlineStore
) -> None:
    damage(online, view, "1", "yesterday")
    database("DELETE FROM rows WHERE id = '1'")
    assert materialize(view, offline, online, full=True, prune=True).entities_pruned == 1


def test_what_is_no_row_at_the_key_of_one_is_named(view: FeatureView, online: OnlineStore) -> None:
    key = key_of(online, view, id="2")
    online._client.delete(key)
    online._client.rpush(key, "somebody else's")
    with pytest.raises(OnlineDataError, match=r"WRONGTYPE.*reading the row of \{'id': '2'\}"):
        online.get_online_features(view, [{"id": "1"}, {"id": "2"}])
