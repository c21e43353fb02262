"""What Redis holds of a view, whatever its layout."""

from __future__ import annotations

import json
from collections.abc import Iterator

import redis
from online_features import FeatureView, OnlineStore
from online_features.instants import to_text
from online_features.online import feast_format, feast_values, keyspace
from online_features.online.guarded_script import entities
from online_features.online.replies import text
from online_features.schema import Column


def rows_online(online: OnlineStore, view: FeatureView) -> dict[str, dict[str, str]]:
    """By the first join key, the fields of every row that are not NULL, as texts."""
    return {name: _fields(online._client, view, key) for name, key in _keys(online, view)}


def names_online(online: OnlineStore, view: FeatureView) -> set[str]:
    """The first join key of every entity that has a row."""
    return {name for name, _ in _keys(online, view)}


def names_buried(online: OnlineStore, view: FeatureView) -> set[str]:
    """The first join key of every entity that has a tombstone."""
    client = online._client
    if view.layout == "feast":
        field = feast_format.tombstone_field(view.name)
        return {texts[0] for key, texts in entities(client, view, _columns(online, view)) if client.hexists(key, field)}
    prefix = keyspace.tombstone_prefix(view)
    keys = (text(key) for key in client.scan_iter(f"{prefix}*", count=10_000))
    return {
        keyspace.entity_values(view, keyspace.entity_prefix(view) + key.removeprefix(prefix).removesuffix("}"))[0]
        for key in keys
    }


def _keys(online: OnlineStore, view: FeatureView) -> Iterator[tuple[str, str | bytes]]:
    field = feast_format.timestamp_field(view.name)
    for key, texts in entities(online._client, view, _columns(online, view)):
        if view.layout != "feast" or online._client.hexists(key, field):
            yield texts[0], key


def _columns(online: OnlineStore, view: FeatureView) -> tuple[Column, ...]:
    schema = online.state(view).schema
    return schema.keys if schema else ()


def _fields(client: redis.Redis, view: FeatureView, key: str | bytes) -> dict[str, str]:
    match view.layout:
        case "hash":
            return {text(field): text(value) for field, value in client.hgetall(key).items()}
        case "json":
            fields = json.loads(client.get(key) or "")
            return {name: str(value) for name, value in fields.items() if value is not None}
    schema = OnlineStore(client).state(view).schema
    assert schema is not None
    stored = client.hgetall(key)
    stored.pop(feast_format.tombstone_field(view.name), None)
    timestamp = feast_values.decode_timestamp(stored.pop(feast_format.timestamp_field(view.name)))
    by_field = {feast_format.feature_field(view.name, column.name): column for column in schema.features}
    values = {by_field[field].name: feast_values.decode(by_field[field], value) for field, value in stored.items()}
    return {
        "_ts": to_text(timestamp), **{name: str(value) for name, value in values.items() if value is not None}
    }  # fmt: skip
