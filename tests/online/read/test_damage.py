"""Rows that something else than this package has damaged in Redis: what the errors offer as the cure is one."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from online_features import FeatureView, OfflineStore, OnlineStore, materialize
from online_features.layouts.feast import feast_format
from online_features.online.read.entity_freshness_check import EntityFreshnessCheck

from tests.conftest import at
from tests.support.layouts import LAYOUTS_OF_EVERY_TYPE
from tests.support.online import key_of
from tests.support.servers.databases import Database

pytestmark = [pytest.mark.layouts, pytest.mark.servers]

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
    if view.layout == "msgpack":
        online._client.set(key, b"\xdc\0\x04\xcf" + timestamp.encode()[:8].ljust(8, b"\xff") + b"\xcf" + bytes(10))
    elif view.layout == "json":
        online._client.set(key, f'{{"_ts":"{timestamp}","x":1}}')
    else:
        field = feast_format.timestamp_field(view.name) if view.layout == "feast" else "_ts"
        online._client.hset(key, field, timestamp.encode() or b"\xff")


def test_a_row_with_a_damaged_timestamp_is_named_and_replaced_by_a_run(
    view: FeatureView, offline: OfflineStore, online: OnlineStore
) -> None:
    for timestamp in DAMAGED:
        damage(online, view, "1", timestamp)
        broken, whole = online.get_online_features(view, [{"id": "1"}, {"id": "2"}])
        assert (broken.status, broken.values, broken.event_timestamp) == ("unreadable", {"x": None}, None)
        assert "the row of {'id': '1'} is damaged" in broken.reason
        assert (whole.status, whole.values, whole.reason) == ("present", {"x": 1}, "")
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
    assert materialize(view, offline, online, full=True, in_place=True, prune=True).entities_pruned == 1


def test_what_is_no_row_at_the_key_of_one_is_named(view: FeatureView, online: OnlineStore) -> None:
    key = key_of(online, view, id="2")
    online._client.delete(key)
    online._client.rpush(key, "somebody else's")
    whole, foreign = online.get_online_features(view, [{"id": "1"}, {"id": "2"}])
    assert (whole.status, foreign.status) == ("present", "unreadable")
    assert re.search(r"the row of \{'id': '2'\}.*WRONGTYPE", foreign.reason)


@pytest.mark.layouts(*LAYOUTS_OF_EVERY_TYPE)
def test_a_damaged_row_hides_no_other_and_is_gone_with_its_generation(
    database: Database, make_view: MakeView, offline: OfflineStore, online: OnlineStore
) -> None:
    database("CREATE TABLE rows AS SELECT id::text, now() AS ts, 'some text' AS x FROM generate_series(1, 3) AS id")
    view = make_view(features=["x"])
    materialize(view, offline, online)
    damage(online, view, "2", "yesterday")
    rows = online.get_online_features(view, [{"id": str(i)} for i in range(1, 5)])
    assert [row.status for row in rows] == ["present", "unreadable", "present", "not_found"]
    assert [row.values["x"] for row in rows] == ["some text", None, "some text", None]
    assert "{'id': '2'}" in rows[1].reason
    assert list(rows.to_pandas()["status"]) == [row.status for row in rows]
    (vector,) = online.get_feature_vectors([view], [{"id": "2"}])
    assert (vector.statuses, vector.is_complete, vector.values) == ({"view": "unreadable"}, False, {"x": None})
    # A column changes its type, and the entity is no longer in the source.
    database("DELETE FROM rows WHERE id = '2'")
    database("ALTER TABLE rows ALTER x TYPE integer USING 5")
    materialize(view, offline, online)
    rows = online.get_online_features(view, [{"id": str(i)} for i in range(1, 4)])
    assert [row.status for row in rows] == ["present", "not_found", "present"]
    assert [row.values["x"] for row in rows] == [5, None, 5]


def test_a_damaged_row_is_not_fresh_to_a_sensor(view: FeatureView, online: OnlineStore) -> None:
    damage(online, view, "1", "yesterday")
    check = EntityFreshnessCheck(view=view, entities=[{"id": "1"}, {"id": "2"}])
    found = online.check(check)
    assert found.kind == "stale"
    assert "1 of 2 entities are present; needed: 2; 1 unreadable: {'id': '1'}" in found.message
    assert found.measured["entities_unreadable"] == 1
