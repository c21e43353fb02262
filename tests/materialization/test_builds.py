"""A full run is seen whole or not at all, and can be taken back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from online_features import (
    ChecksFailedError,
    FeatureView,
    OfflineStore,
    OnlineStore,
    RollbackError,
    materialize,
)

from tests.support.online import key_of

pytestmark = pytest.mark.layouts("hash", "json")

NOW = datetime.now(UTC)


def at(minutes: int) -> datetime:
    return NOW - timedelta(days=1) + timedelta(minutes=minutes)


@pytest.fixture
def view(database: Callable[..., Any], make_view: Callable[..., FeatureView], layout: str) -> FeatureView:
    database("CREATE TABLE rows (id text, ts timestamptz, created timestamptz DEFAULT clock_timestamp(), x int)")
    return make_view(features=["x"], layout=layout, source={"created_timestamp_column": "created"})


def x_of(online: OnlineStore, view: FeatureView, *names: str, **options: Any) -> list[Any]:
    rows = online.get_online_features(view, [{"id": name} for name in names], **options)
    return [row.values["x"] for row in rows]


def test_a_full_run_is_published_whole(
    database: Callable[..., Any], offline: OfflineStore, online: OnlineStore, view: FeatureView
) -> None:
    database("INSERT INTO rows VALUES ('a', %s, now(), 1), ('b', %s, now(), 1)", at(0), at(0))
    first = materialize(view, offline, online)
    assert first.is_published
    database("UPDATE rows SET x = 2, ts = %s", at(-60))  # a correction with older timestamps
    built = materialize(view, offline, online, full=True, publish=False)
    assert (built.is_published, x_of(online, view, "a", "b")) == (False, [1, 1])
    assert x_of(online, view, "a", "b", at_generation=built.generation) == [2, 2]
    assert online.publish([view]) == {view.name: built.generation}
    assert x_of(online, view, "a", "b") == [2, 2]
    assert online.rollback([view]) == {view.name: first.generation}
    assert x_of(online, view, "a", "b") == [1, 1]
    database("INSERT INTO rows VALUES ('c', %s, now(), 3)", at(1))
    skipped = materialize(view, offline, online)
    assert skipped.skipped
    assert x_of(online, view, "c") == [None]
    held = materialize(view, offline, online, full=True)
    assert (held.is_published, x_of(online, view, "a")) == (False, [1])
    online.release([view])
    third = materialize(view, offline, online)
    assert third.is_published
    assert x_of(online, view, "a", "b", "c") == [2, 2, 3]
    database("INSERT INTO rows VALUES ('c', %s, now(), 4)", at(2))
    assert materialize(view, offline, online).generation == third.generation
    assert x_of(online, view, "a", "b", "c") == [2, 2, 4]


def test_pushes_and_erasures_survive_a_build_and_a_switch(
    database: Callable[..., Any], offline: OfflineStore, online: OnlineStore, view: FeatureView
) -> None:
    online.push(view, [{"id": "pushed", "ts": at(5), "created": at(5), "x": 7}])
    online.push(view, [{"id": "both", "ts": at(5), "created": at(5), "x": 7}])
    database("INSERT INTO rows VALUES ('a', %s, now(), 1), ('both', %s, now(), 1)", at(0), at(0))
    online.delete(view, [{"id": "a"}])
    materialize(view, offline, online)
    assert x_of(online, view, "a", "both", "pushed") == [None, 7, 7]
    built = materialize(view, offline, online, full=True, publish=False)
    online.push(view, [{"id": "late", "ts": at(6), "created": at(6), "x": 8}])
    online.delete(view, [{"id": "pushed"}])
    assert x_of(online, view, "a", "both", "pushed", "late", at_generation=built.generation) == [None, 7, None, 8]
    online.publish([view])
    assert x_of(online, view, "a", "both", "pushed", "late") == [None, 7, None, 8]
    online.rollback([view])
    assert x_of(online, view, "a", "both", "pushed", "late") == [None, 7, None, 8]
    assert online.unerase(view, [{"id": "a"}]) == 1
    online.release([view])
    materialize(view, offline, online)
    assert x_of(online, view, "a", "both", "pushed", "late") == [1, 7, None, 8]


def test_a_damaged_row_that_was_pushed_is_warned_of(
    database: Callable[..., Any], offline: OfflineStore, online: OnlineStore, view: FeatureView,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    database("INSERT INTO rows VALUES ('a', %s, now(), 1)", at(0))
    online.push(view, [{"id": name, "ts": at(5), "created": at(5), "x": 7} for name in ("whole", "damaged")])
    key, client = key_of(online, view, id="damaged"), online._client
    if view.layout == "hash":
        client.hset(key, "x", "seven")
    else:
        client.set(key, client.get(key).replace(b'"x":7', b'"x":"seven"'))
    assert materialize(view, offline, online).is_published
    assert x_of(online, view, "a", "whole", "damaged") == [1, 7, None]
    assert "1 pushed rows are damaged, so they are not carried over" in caplog.text


def test_an_erasure_is_taken_back_beside_a_build_of_other_entities(
    database: Callable[..., Any], offline: OfflineStore, online: OnlineStore, view: FeatureView
) -> None:
    database("INSERT INTO rows VALUES ('a', %s, now(), 1)", at(0))
    materialize(view, offline, online)
    online.delete(view, [{"id": "a"}])
    materialize(replace(view, entities=["x"], features=["id"]), offline, online, full=True, publish=False)
    assert online.unerase(view, [{"id": "a"}]) == 1
    materialize(view, offline, online, full=True)
    assert x_of(online, view, "a") == [1]


def test_a_build_without_rows_replaces_none(
    database: Callable[..., Any], offline: OfflineStore, online: OnlineStore, view: FeatureView
) -> None:
    database("INSERT INTO rows VALUES ('a', %s, now(), 1)", at(0))
    materialize(view, offline, online)
    database("DELETE FROM rows")
    with pytest.raises(ChecksFailedError, match=r"(?s)not_empty.*allow_empty=True"):
        materialize(view, offline, online, full=True)
    assert x_of(online, view, "a") == [1]
    materialize(view, offline, online, full=True, allow_empty=True)
    assert x_of(online, view, "a") == [None]


def test_a_build_catches_up_with_increments(
    database: Callable[..., Any], offline: OfflineStore, online: OnlineStore, view: FeatureView
) -> None:
    database("INSERT INTO rows VALUES ('a', %s, now(), 1)", at(0))
    materialize(view, offline, online)
    beside: list[Any] = []

    def increment(progress: Any) -> None:
        if not beside:
            database("INSERT INTO rows VALUES ('b', %s, clock_timestamp(), 2)", at(1))
            beside.append(materialize(view, offline, online))

    built = materialize(view, offline, online, full=True, on_progress=increment)
    assert built.is_published
    assert built.watermark is not None
    assert built.watermark >= beside[0].watermark
    assert x_of(online, view, "a", "b") == [1, 2]


def test_there_is_nothing_to_go_back_to(
    database: Callable[..., Any], offline: OfflineStore, online: OnlineStore, view: FeatureView
) -> None:
    database("INSERT INTO rows VALUES ('a', %s, now(), 1)", at(0))
    with pytest.raises(RollbackError):
        online.rollback([view])
    materialize(view, offline, online)
    with pytest.raises(RollbackError, match="nothing was published before"):
        online.rollback([view])
