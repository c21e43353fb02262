"""Connections that break while entities are read: the client's retries count, and its pool stays clean."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import redis
from online_features import FeatureView, OnlineStore
from online_features.errors import OnlineStoreUnavailableError

from tests.conftest import at
from tests.support.online import row_key
from tests.support.reading import Trips, awaited_store, reading_store

MakeView = Callable[..., FeatureView]


@pytest.fixture
def view(make_view: MakeView, online: OnlineStore) -> FeatureView:
    view = make_view()
    online.push(view, [{"id": "e1", "ts": at(1), "x": 1}])
    return view


def x_of(reader: Any, view: FeatureView) -> Any:
    (row,) = reader.get_online_features(view, [{"id": "e1"}])
    return row.values["x"]


@pytest.mark.parametrize("kind", [reading_store, awaited_store])
def test_a_broken_connection_is_replaced_by_the_clients_retries(
    view: FeatureView, redis_url: str, kind: Callable[..., Any]
) -> None:
    trips = Trips()
    with kind(redis_url, trips) as reader:
        assert x_of(reader, view) == 1
        trips.to_break = 2
        assert x_of(reader, view) == 1
        assert trips.to_break == 0
        assert trips.of(lambda: x_of(reader, view)) == 1


@pytest.mark.parametrize("kind", [reading_store, awaited_store])
def test_a_connection_that_breaks_again_and_again_is_an_error_and_the_next_reading_is_not(
    view: FeatureView, redis_url: str, kind: Callable[..., Any]
) -> None:
    trips = Trips()
    with kind(redis_url, trips) as reader:
        assert x_of(reader, view) == 1
        trips.to_break = 100
        with pytest.raises(OnlineStoreUnavailableError, match="'view'"):
            x_of(reader, view)
        assert 0 < trips.to_break < 100
        trips.to_break = 0
        assert x_of(reader, view) == 1


@pytest.mark.parametrize("kind", [reading_store, awaited_store])
def test_an_error_for_one_key_leaves_no_reply_for_the_next_reading(
    view: FeatureView, online: OnlineStore, client: redis.Redis, redis_url: str, kind: Callable[..., Any]
) -> None:
    client.lpush(row_key(client, view, ["list"]), "x")
    with kind(redis_url, Trips()) as reader:
        for _ in range(2):
            foreign, row = reader.get_online_features(view, [{"id": "list"}, {"id": "e1"}])
            assert "WRONGTYPE" in foreign.reason
            assert row.values["x"] == 1
            assert x_of(reader, view) == 1
