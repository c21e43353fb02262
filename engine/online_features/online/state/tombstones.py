"""Tombstones, carried over when the keys of a view's entities become others: what was erased stays erased."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from online_features.errors import InvalidRowsError, OnlineDataError
from online_features.feature_view import FeatureView
from online_features.layouts import keyspace
from online_features.layouts.feast import feast_format
from online_features.layouts.row_keys import Key, row_keys
from online_features.online.redis.redis_failures import Client
from online_features.online.write.row_script import KEYS_PER_CALL, SCAN_COUNT, GuardedScript, batched, entities
from online_features.resp.replies import optional_text, text
from online_features.schema import Column
from online_features.types import values


@dataclass(frozen=True, kw_only=True)
class Tombstone:
    """That an entity is gone.

    :param texts: of its join keys.
    """

    texts: list[str]
    timestamp: str
    created: str


def carry_over(
    client: Client,
    written: FeatureView,
    written_keys: Sequence[Column],
    view: FeatureView,
    keys: Sequence[Column],
) -> None:
    """Leave the tombstones of a view also where its entities will be: in another layout, or of another type.

    :param written: the view as its rows were written, with the types of its join keys.
    :param view: the view as it will be written, likewise.
    """
    if set(written.entities) != set(view.entities):
        return
    bury, rows = GuardedScript(client, view, "bury"), row_keys(view)
    before: set[Key] = set()
    after: set[Key] = set()
    for some in batched(_buried(client, written, written_keys), KEYS_PER_CALL):
        moved = [(respelled(written_keys, keys, stone.texts), stone) for stone in some]
        # An entity that no longer has a key cannot come back.
        stones = [(rows.key(keys, texts), stone) for texts, stone in moved if texts is not None]
        bury([key for key, _ in stones], of_each=[(stone.timestamp, stone.created) for _, stone in stones])
        before.update(row_keys(written).key(written_keys, stone.texts) for stone in some)
        after.update(key for key, _ in stones)
    if "feast" not in (written.layout, view.layout):
        # In another order of join keys, an old key may be another entity's.
        for left in batched(before - after, KEYS_PER_CALL):
            client.unlink(*(keyspace.tombstone_key(view, text(key)) for key in left))


def respelled(written_keys: Sequence[Column], keys: Sequence[Column], texts: Sequence[str]) -> list[str] | None:
    """The texts of an entity's join keys as they are in other types; ``None`` when the entity has no such text."""
    by_name = dict(zip((key.name for key in written_keys), texts, strict=False))
    try:
        return [values.encode_key(key, values.decode(key, by_name[key.name])) for key in keys]
    except (KeyError, OnlineDataError, InvalidRowsError):
        return None


def _buried(client: Client, view: FeatureView, keys: Sequence[Column]) -> Iterator[Tombstone]:
    return _in_feasts_keys(client, view, keys) if view.layout == "feast" else _in_own_keys(client, view)


def _in_feasts_keys(client: Client, view: FeatureView, keys: Sequence[Column]) -> Iterator[Tombstone]:
    field = feast_format.tombstone_field(view.name)
    for some in batched(entities(client, view, keys), KEYS_PER_CALL):
        with client.pipeline(transaction=False) as pipeline:
            for key, _ in some:
                pipeline.hget(key, field)
            for (_, texts), buried in zip(some, pipeline.execute(), strict=True):
                if buried is not None:
                    timestamp, created = text(buried).split(" ")
                    yield Tombstone(texts=texts, timestamp=timestamp, created=created)


def _in_own_keys(client: Client, view: FeatureView) -> Iterator[Tombstone]:
    prefix = keyspace.tombstone_prefix(view)
    for some in batched(client.scan_iter(match=f"{prefix}*", count=SCAN_COUNT), KEYS_PER_CALL):
        with client.pipeline(transaction=False) as pipeline:
            for key in some:
                pipeline.hmget(key, keyspace.TIMESTAMP_FIELD, keyspace.CREATED_FIELD)
            told = pipeline.execute()
        for key, (timestamp, created) in zip(some, told, strict=True):
            if timestamp is not None:
                entity = keyspace.entity_prefix(view) + text(key).removeprefix(prefix).removesuffix("}")
                yield Tombstone(
                    texts=keyspace.entity_values(view, entity),
                    timestamp=text(timestamp),
                    created=optional_text(created) or "",
                )
