"""Tombstones, carried over when a view moves between its own keys and Feast's: what was erased stays erased."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import redis

from online_features.feature_view import FeatureView
from online_features.online import feast_format, keyspace
from online_features.online.guarded_script import KEYS_PER_CALL, SCAN_COUNT, GuardedScript, batched, entities
from online_features.online.replies import optional_text, text
from online_features.online.row_keys import row_keys
from online_features.schema import Column


@dataclass(frozen=True, kw_only=True)
class Tombstone:
    """That an entity is gone.

    :param texts: of its join keys.
    """

    texts: list[str]
    timestamp: str
    created: str


def carry_over(
    client: redis.Redis,
    written: FeatureView,
    written_keys: Sequence[Column],
    view: FeatureView,
    keys: Sequence[Column],
) -> None:
    """Leave the tombstones of a view at the keys of another layout, too.

    :param written: the view as its rows were written, with the types of its join keys.
    :param view: the view as it will be written, likewise.
    """
    if (written.layout == "feast") == (view.layout == "feast") or written.entities != view.entities:
        return
    bury = GuardedScript(client, view, "bury")
    buried = (
        _in_feasts_keys(client, written, written_keys) if written.layout == "feast" else _in_own_keys(client, written)
    )
    for some in batched(buried, KEYS_PER_CALL):
        words = (word for stone in some for word in (stone.timestamp, stone.created))
        bury([row_keys(view).key(keys, stone.texts) for stone in some], *words)


def _in_feasts_keys(client: redis.Redis, view: FeatureView, keys: Sequence[Column]) -> Iterator[Tombstone]:
    field = feast_format.tombstone_field(view.name)
    for some in batched(entities(client, view, keys), KEYS_PER_CALL):
        with client.pipeline(transaction=False) as pipeline:
            for key, _ in some:
                pipeline.hget(key, field)
            for (_, texts), buried in zip(some, pipeline.execute(), strict=True):
                if buried is not None:
                    timestamp, created = text(buried).split(" ")
                    yield Tombstone(texts=texts, timestamp=timestamp, created=created)


def _in_own_keys(client: redis.Redis, view: FeatureView) -> Iterator[Tombstone]:
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
