"""Rows, keys and tombstones of a view in Redis, in any layout."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import redis
from online_features import FeatureView, OnlineStore
from online_features.common.instants import to_text
from online_features.layouts import keyspace
from online_features.layouts.feast import feast_format, feast_values
from online_features.layouts.feast.feast_columns import KEY, feast_column
from online_features.layouts.row_format import naming
from online_features.online.read.entity_keys import entity_key
from online_features.online.write._row_script import entities
from online_features.resp.replies import text
from online_features.schema import Column, Encoding


def rows_online(online: OnlineStore, view: FeatureView, features: Iterable[str]) -> dict[str, dict[str, str]]:
    """Return the fields that are not NULL of every row, as texts, by the first join key.

    :param features: that the rows may have.
    """
    return {name: _fields(online._client, view, key, features) for name, key in _keys(online, view)}


def names_online(online: OnlineStore, view: FeatureView) -> set[str]:
    """Return the first join key of every entity that has a row."""
    return {name for name, _ in _keys(online, view)}


def names_buried(online: OnlineStore, view: FeatureView) -> set[str]:
    """Return the first join key of every entity that has a tombstone."""
    client = online._client
    if view.layout == "feast":
        field = feast_format.tombstone_field(view.name)
        return {
            texts[0]
            for key, texts in entities(online._deployment, view, _columns(online, view))
            if client.hexists(key, field)
        }
    prefix = keyspace.tombstone_prefix(view)
    keys = (text(key) for key in client.scan_iter(f"{prefix}*", count=10_000))
    return {
        keyspace.entity_values(view, keyspace.entity_prefix(view) + key.removeprefix(prefix).removesuffix("}"))[0]
        for key in keys
    }


def key_of(online: OnlineStore, view: FeatureView, **entity: Any) -> str | bytes:
    """Return the key of an entity's row."""
    return entity_key(view, _columns(online, view), entity)


def held(online: OnlineStore, view: FeatureView, entity: Any) -> Any:
    """Return the raw value at the key of an entity, of a view with the join key ``id``."""
    key = key_of(online, view, id=entity)
    return online._client.get(key) if view.layout == "json" else online._client.hgetall(key)


def _keys(online: OnlineStore, view: FeatureView) -> Iterator[tuple[str, str | bytes]]:
    field = feast_format.timestamp_field(view.name)
    for key, texts in entities(online._deployment, view, _columns(online, view)):
        if view.layout != "feast" or online._client.hexists(key, field):
            yield texts[0], key


def _columns(online: OnlineStore, view: FeatureView) -> tuple[Column, ...]:
    schema = online.state(view).schema
    texts = (Column(name, "text", Encoding.TEXT) for name in view.entities)
    return schema.keys if schema else tuple(feast_column(view, KEY, column) for column in texts)


def from_feast(column: Column, message: bytes) -> Any:
    """Decode a value as readers of layout ``feast`` do."""
    (value,) = naming(column, feast_values.decoder(column), feast_values.damage)([message])
    return value


def _fields(client: redis.Redis, view: FeatureView, key: str | bytes, features: Iterable[str]) -> dict[str, str]:
    match view.layout:
        case "hash":
            return {text(field): text(value) for field, value in client.hgetall(key).items()}
        case "json":
            fields = json.loads(client.get(key) or "")
            return {name: str(value) for name, value in fields.items() if value is not None}
    stored = client.hgetall(key)
    timestamp = feast_values.decode_timestamp(stored.pop(feast_format.timestamp_field(view.name)))
    by_field = {feast_format.feature_field(view.name, name): name for name in features}
    values = {
        by_field[field]: from_feast(Column(by_field[field], "", Encoding.TEXT), value)
        for field, value in stored.items()
    }
    return {
        "_ts": to_text(timestamp), **{name: str(value) for name, value in values.items() if value is not None}
    }  # fmt: skip


def replies(client: redis.Redis) -> Callable[..., Any]:
    """Return a function that sends a command and returns the reply, even if that is an error."""

    def reply(*words: Any) -> Any:
        try:
            return client.execute_command(*words)  # type: ignore[no-untyped-call]
        except redis.ResponseError as refusal:
            return refusal

    return reply
