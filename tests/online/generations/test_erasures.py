"""Erased entities are recorded in buckets, read in batches, and taken back."""

from __future__ import annotations

from datetime import timedelta

import pytest
import redis
from online_features import Column, FeatureView
from online_features.errors import OnlineDataError
from online_features.layouts import keyspace
from online_features.online.generations.erasures import (
    BUCKETS,
    bucket_of,
    erased_entity,
    erased_field,
    read_erasures,
    record_erasures,
    take_back_erasures,
)
from online_features.online.redis.deployment import Deployment
from online_features.schema import Encoding

from tests.conftest import at

pytestmark = pytest.mark.servers

KEYS = (Column("user", "text", Encoding.TEXT), Column("shop", "bigint", Encoding.TEXT))


def field(i: int) -> str:
    return erased_field(KEYS, [f"ü{i}", str(i)])


def recorded(deployment: Deployment, view: FeatureView) -> dict[str, object]:
    return {field: until for batch in read_erasures(deployment, view) for field, until in batch.items()}


def test_what_is_recorded_is_read_until_it_is_taken_back(deployment: Deployment, trips: FeatureView) -> None:
    erased = {field(i): at(1) + timedelta(seconds=i) for i in range(3000)}
    record_erasures(deployment, trips, erased)
    assert recorded(deployment, trips) == erased
    back = [field(i) for i in range(2000)]
    assert take_back_erasures(deployment, trips, back) == 2000
    assert take_back_erasures(deployment, trips, back) == 0
    assert recorded(deployment, trips) == {field(i): erased[field(i)] for i in range(2000, 3000)}


def test_large_buckets_are_read_in_parts(deployment: Deployment, client: redis.Redis, trips: FeatureView) -> None:
    texts = {f"f{i}": "2026-01-01T00:00:00.000000Z" for i in range(5000)}
    client.hset(keyspace.erased_key(trips, 0), mapping=texts)
    assert recorded(deployment, trips).keys() == texts.keys()
    assert max(map(len, read_erasures(deployment, trips))) < 2000


def test_the_later_of_two_erasures_stays(deployment: Deployment, trips: FeatureView) -> None:
    for hour in (2, 3, 1):
        record_erasures(deployment, trips, {field(1): at(hour)})
    assert recorded(deployment, trips) == {field(1): at(3)}


def test_erasures_of_other_views_are_not_touched(
    deployment: Deployment, trips: FeatureView, weather: FeatureView
) -> None:
    record_erasures(deployment, trips, {field(1): at(1)})
    assert recorded(deployment, weather) == {}
    assert take_back_erasures(deployment, weather, [field(1)]) == 0


def test_fields_hold_names_types_and_texts() -> None:
    assert field(7) == '[["user", "text", "\\u00fc7"], ["shop", "bigint", "7"]]'
    assert erased_entity(field(7)) == [("user", "text", "ü7"), ("shop", "bigint", "7")]


def test_buckets_are_the_same_in_every_process() -> None:
    assert bucket_of('[["id", "text", "a"]]') == 62
    assert {bucket_of(field(i)) for i in range(1000)} == set(range(BUCKETS))


def test_a_damaged_erasure_is_named(deployment: Deployment, client: redis.Redis, trips: FeatureView) -> None:
    client.hset(keyspace.erased_key(trips, 5), "f", "never")
    with pytest.raises(OnlineDataError, match="@online_features:erased:"):
        recorded(deployment, trips)
