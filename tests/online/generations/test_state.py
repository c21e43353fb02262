"""The state of a view is lost, restored and moved together with its rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis
from online_features import FeatureView, OfflineStore, OnlineStore, materialize

from tests.conftest import at
from tests.support.layouts import LAYOUTS_OF_TEXTS
from tests.support.servers.databases import Database

pytestmark = pytest.mark.layouts

MakeView = Callable[..., FeatureView]


@pytest.fixture
def view(database: Database, make_view: MakeView) -> FeatureView:
    database("CREATE TABLE rows (id text, ts timestamptz, created timestamptz DEFAULT clock_timestamp(), x int)")
    database("INSERT INTO rows VALUES ('a', %s, DEFAULT, 1), ('b', %s, DEFAULT, 1)", at(1), at(1))
    return make_view(source={"created_timestamp_column": "created"}, features=["x"])


@pytest.fixture
def binary(redis_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_url) as client:
        yield client


def values(online: OnlineStore, view: FeatureView) -> list[Any]:
    return [row.values["x"] for row in online.get_online_features(view, [{"id": "a"}, {"id": "b"}, {"id": "c"}])]


def test_a_restored_old_snapshot_is_caught_up_by_the_next_increment(
    database: Database, view: FeatureView, offline: OfflineStore, online: OnlineStore, binary: redis.Redis
) -> None:
    materialize(view, offline, online)
    old = {key: binary.dump(key) for key in binary.scan_iter(f"*{view.project}*")}
    database("INSERT INTO rows VALUES ('a', %s, DEFAULT, 2), ('c', %s, DEFAULT, 2)", at(2), at(2))
    materialize(view, offline, online)
    after = values(online, view)
    binary.delete(*binary.scan_iter(f"*{view.project}*"))
    for key, dumped in old.items():
        binary.restore(key, 0, dumped)
    assert values(online, view) == [1, 1, None]
    assert materialize(view, offline, online).rows_written == 2
    assert values(online, view) == after == [2, 1, 2]


def test_another_redis_database_is_filled_from_the_beginning(
    view: FeatureView, offline: OfflineStore, online: OnlineStore, redis_url: str
) -> None:
    materialize(view, offline, online)
    other = OnlineStore.from_url(f"{redis_url.rpartition('/')[0]}/1")
    assert other.freshness(view).watermark is None
    assert materialize(view, offline, other).rows_written == 2
    assert values(other, view) == [1, 1, None]


@pytest.mark.layouts(*LAYOUTS_OF_TEXTS)
def test_a_client_that_decodes_replies_is_served_alike(
    view: FeatureView, offline: OfflineStore, online: OnlineStore, client: redis.Redis
) -> None:
    decoding = OnlineStore(client)
    first = materialize(view, offline, decoding)
    assert values(decoding, view) == values(online, view) == [1, 1, None]
    assert decoding.freshness(view).watermark == online.freshness(view).watermark == first.watermark
    assert decoding.runs(view) == online.runs(view)
    assert decoding.push(view, [{"id": "c", "ts": at(1), "x": 3}]).rows_written == 1
    assert materialize(view, offline, decoding, full=True, prune=True).entities_pruned == 1
    assert decoding.delete(view, [{"id": "a"}]) == 1


def test_the_history_keeps_the_last_runs_only(
    view: FeatureView, offline: OfflineStore, online: OnlineStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("online_features.online.generations.runs.RUNS_KEPT", 2)
    ids = [materialize(view, offline, online, full=True).run_id for _ in range(3)]
    assert [run["run_id"] for run in online.runs(view)] == [ids[2], ids[1]]
