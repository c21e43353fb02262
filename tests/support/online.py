"""Rows, keys and tombstones of a view in Redis, in any layout."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import redis
from online_features import FeatureView, OnlineStore
from online_features.common.instants import to_text
from online_features.layouts import keyspace
from online_features.layouts.feast import feast_format, feast_values
from online_features.layouts.feast.feast_columns import KEY, feast_column
from online_features.layouts.json.json_layout import FLAGS_AT as JSON_FLAGS_AT
from online_features.layouts.layout import RowLayout
from online_features.layouts.layout_registry import layout_of
from online_features.layouts.msgpack.msgpack_layout import FLAGS_AT
from online_features.layouts.row_format import naming
from online_features.online.generations.pointer import published_from
from online_features.online.generations.view_state import ViewState, as_online, read_state
from online_features.online.read.entity_keys import entity_key
from online_features.online.write._row_script import RowScript, entities
from online_features.resp.replies import text
from online_features.schema import Column, Encoding
from online_features.types import values

STRING_LAYOUTS = ("msgpack", "json")

CREATED_STAMP = slice(13, 21)  # in rows of layout msgpack


def rows_online(online: OnlineStore, view: FeatureView, features: Iterable[str]) -> dict[str, dict[str, str]]:
    """Return the fields that are not NULL of every row, as texts, by the first join key.

    :param features: that the rows may have.
    """
    return generation_online(online, view, features).rows


@dataclass(frozen=True)
class GenerationOnline:
    """What Redis holds of a generation, by the first join key of entities.

    :param rows: the fields that are not NULL, as texts.
    :param buried: entities that have a tombstone.
    :param pushed: those whose row or tombstone is marked as pushed.
    """

    rows: dict[str, dict[str, str]]
    buried: set[str]
    pushed: set[str]


def generation_online(
    online: OnlineStore, view: FeatureView, features: Iterable[str], generation: str | None = None
) -> GenerationOnline:
    """Return what Redis holds of a generation.

    :param features: that the rows may have.
    :param generation: ``None`` for the published one.
    """
    found = list(_stamped(online, view, generation))
    return GenerationOnline(
        rows={
            texts[0]: _fields(online, view, key, features, generation)
            for key, texts, flags in found
            if not flags & keyspace.TOMBSTONE
        },
        buried={texts[0] for _, texts, flags in found if flags & keyspace.TOMBSTONE},
        pushed={texts[0] for _, texts, flags in found if flags & keyspace.PUSHED},
    )


def names_online(online: OnlineStore, view: FeatureView) -> set[str]:
    """Return the first join key of every entity that has a row."""
    return {texts[0] for _, texts, flags in _stamped(online, view) if not flags & keyspace.TOMBSTONE}


def names_buried(online: OnlineStore, view: FeatureView) -> set[str]:
    """Return the first join key of every entity that has a tombstone."""
    return {texts[0] for _, texts, flags in _stamped(online, view) if flags & keyspace.TOMBSTONE}


def key_of(online: OnlineStore, view: FeatureView, **entity: Any) -> str | bytes:
    """Return the key of an entity's row in the published generation."""
    return entity_key(_layout(online, view), _columns(online, view), entity)


def row_key(client: Any, view: FeatureView, texts: Sequence[str]) -> str:
    """Return the key of a row in the published generation, from the texts of its join keys."""
    return keyspace.entity_key(view, published(client, view), texts)


def state_key(client: Any, view: FeatureView) -> str:
    """Return the key of the state of the published generation."""
    return keyspace.generation_key(view, published(client, view))


def published(client: Any, view: FeatureView) -> str:
    """Return the published generation."""
    return published_from(view.project, client.hget(keyspace.published_key(view.project), view.name)).generation


def held(online: OnlineStore, view: FeatureView, entity: Any) -> Any:
    """Return the raw value at the key of an entity, of a view with the join key ``id``."""
    key = key_of(online, view, id=entity)
    return online._client.get(key) if view.layout in STRING_LAYOUTS else online._client.hgetall(key)


def held_as_pushed(online: OnlineStore, view: FeatureView, entity: Any) -> Any:
    """Return what :func:`held` returns, without the mark of a row that was pushed.

    :raises AssertionError: when the row has no mark, in a layout that has one.
    """
    stored = held(online, view, entity)
    match view.layout:
        case "msgpack":
            assert stored[FLAGS_AT] & keyspace.PUSHED
            stored = stored[:FLAGS_AT] + bytes([stored[FLAGS_AT] & ~keyspace.PUSHED]) + stored[FLAGS_AT + 1 :]
        case "hash":
            assert stored.pop(keyspace.PUSHED_FIELD.encode(), None) == b"1"
        case "json":
            flags = stored[JSON_FLAGS_AT] - ord("0")
            assert flags & keyspace.PUSHED
            digit = str(flags & ~keyspace.PUSHED).encode()
            stored = stored[:JSON_FLAGS_AT] + digit + stored[JSON_FLAGS_AT + 1 :]
    return stored


def _stamped(
    online: OnlineStore, view: FeatureView, generation: str | None = None
) -> Iterator[tuple[str | bytes, list[str], int]]:
    """Yield the key, the texts of the join keys and the flags of every row and tombstone."""
    layout, columns = _layout(online, view, generation), _columns(online, view, generation)
    stamps_of = RowScript(online._deployment, layout, "stamps")
    for key, texts in entities(online._deployment, layout, columns):
        ((timestamp, _, flags),) = stamps_of([key])
        if timestamp:
            yield key, texts, flags


def _state(online: OnlineStore, view: FeatureView, generation: str | None) -> ViewState:
    return online.state(view) if generation is None else read_state(online._deployment, view, generation)


def _layout(online: OnlineStore, view: FeatureView, generation: str | None = None) -> RowLayout:
    state = _state(online, view, generation)
    return layout_of(as_online(view, state.layout), state.generation)


def _columns(online: OnlineStore, view: FeatureView, generation: str | None = None) -> tuple[Column, ...]:
    schema = _state(online, view, generation).schema
    texts = (Column(name, "text", Encoding.TEXT) for name in view.entities)
    return schema.keys if schema else tuple(feast_column(view, KEY, column) for column in texts)


def from_feast(column: Column, message: bytes) -> Any:
    """Decode a value as readers of layout ``feast`` do."""
    (value,) = naming(column, feast_values.decoder(column), feast_values.damage)([message])
    return value


def _fields(
    online: OnlineStore, view: FeatureView, key: str | bytes, features: Iterable[str], generation: str | None
) -> dict[str, str]:
    client = online._client
    match view.layout:
        case "msgpack":
            return _texts(online, view, client.get(key), generation)
        case "hash":
            fields = {text(field): text(value) for field, value in client.hgetall(key).items()}
            return {name: value for name, value in fields.items() if name != keyspace.PUSHED_FIELD}
        case "json":
            fields = json.loads(client.get(key) or "")
            del fields[keyspace.FLAGS_FIELD]
            return {name: str(value) for name, value in fields.items() if value is not None}
    stored = client.hgetall(key)
    timestamp = feast_values.decode_timestamp(stored.pop(feast_format.timestamp_field(view.name)))
    by_field = {feast_format.feature_field(view.name, name): name for name in features}
    found = {
        by_field[field]: from_feast(Column(by_field[field], "", Encoding.TEXT), value)
        for field, value in stored.items()
    }
    return {
        "_ts": to_text(timestamp), **{name: str(value) for name, value in found.items() if value is not None}
    }  # fmt: skip


def _texts(online: OnlineStore, view: FeatureView, stored: bytes, generation: str | None) -> dict[str, str]:
    """Return what layout ``json`` holds of a row of layout ``msgpack``."""
    layout, schema = _layout(online, view, generation), _state(online, view, generation).schema
    assert schema is not None
    timestamp, found = layout.row_format(schema.features, schema.features).row(stored)
    assert timestamp is not None
    created = stored[CREATED_STAMP]
    stamps = {"_ts": to_text(timestamp)} | ({"_created": to_text(layout.instant(created))} if any(created) else {})
    present = ((column, found[column.name]) for column in schema.features)
    return stamps | {column.name: values.encode(column, value) for column, value in present if value is not None}


def replies(client: redis.Redis) -> Callable[..., Any]:
    """Return a function that sends a command and returns the reply, even if that is an error."""

    def reply(*words: Any) -> Any:
        try:
            return client.execute_command(*words)  # type: ignore[no-untyped-call]
        except redis.ResponseError as refusal:
            return refusal

    return reply
