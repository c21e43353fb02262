"""Removal of entities: erased on request, or pruned because the source no longer has them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import islice
from typing import Any, TypeVar

import redis

from online_features.errors import InvalidRowsError
from online_features.feature_view import FeatureView
from online_features.instants import to_text
from online_features.online import keyspace, scripts, state, values
from online_features.online.replies import text
from online_features.schema import Column

LAST_OF_ALL = to_text(datetime.max.replace(tzinfo=UTC))
KEYS_PER_CALL = 500  # a call blocks Redis for a few microseconds a key

Item = TypeVar("Item")
Lookup = Callable[[Sequence[Sequence[str]]], set[int]]


def erase(client: redis.Redis, view: FeatureView, entity_rows: Sequence[Mapping[str, Any]], *, now: datetime) -> int:
    """Erase entities and leave tombstones; see :meth:`~online_features.OnlineStore.delete`."""
    stored = state.read_state(client, view).schema
    if stored is not None and not stored.has_entities(view.entities):
        raise InvalidRowsError(
            f"feature view {view.name!r}: what is online has entities {[key.name for key in stored.keys]}; materialize "
            "the view before you erase by others"
        )
    keys = [keyspace.entity_key(view, entity_texts(view, stored.keys if stored else None, row)) for row in entity_rows]
    script = client.register_script(scripts.guarded("delete", view.layout))
    return sum(script(keys=some, args=[to_text(now), LAST_OF_ALL]) for some in _batched(keys, KEYS_PER_CALL))


def prune(client: redis.Redis, view: FeatureView, keys: Sequence[Column], before: datetime, existing: Lookup) -> int:
    """Remove entities that the source no longer has.

    Entities with an event timestamp from ``before`` on stay: a push may be ahead of the source. An entity that is
    written between the look at the source and the removal stays, too.

    :param existing: from entities, as texts of their join keys, to the indexes of those the source has.
    :returns: how many were removed.
    """
    script = client.register_script(scripts.guarded("prune", view.layout))
    limit = to_text(before)
    scan = client.scan_iter(match=f"{keyspace.entity_prefix(view)}*", count=state.SCAN_COUNT)
    removed = 0
    for some in _batched(map(text, scan), KEYS_PER_CALL):
        stamps = _stamps(client, view, some)
        # A key that has gone since the scan has no timestamp.
        seen = [(key, *stamp) for key, stamp in zip(some, stamps, strict=True) if "" < stamp[0] < limit]
        entities = [keyspace.entity_values(view, key) for key, _, _ in seen]
        # Join keys that cannot be read as the source's types were pushed with others: the source has none of them.
        whole = [i for i, entity in enumerate(entities) if _fits(keys, entity)]
        held = {whole[i] for i in existing([entities[i] for i in whole])} if whole else set()
        gone = [row for i, row in enumerate(seen) if i not in held]
        if gone:
            removed += script(keys=[key for key, _, _ in gone], args=[part for _, *stamp in gone for part in stamp])
    return removed


def entity_texts(view: FeatureView, keys: Sequence[Column] | None, entity: Mapping[str, Any]) -> list[str]:
    """The texts of an entity's join keys.

    :param keys: types of the join keys; ``None`` where none are recorded, so that the values must tell.
    :raises InvalidRowsError: when a join key is missing or does not fit.
    """
    missing = [name for name in view.entities if entity.get(name) is None]
    if missing:
        raise InvalidRowsError(f"feature view {view.name!r}: entity {dict(entity)!r} lacks join key {missing[0]!r}")
    columns = keys or [values.inferred_column(name, entity[name]) for name in view.entities]
    return [values.encode_key(column, entity[column.name]) for column in columns]


def _fits(keys: Sequence[Column], entity: Sequence[str]) -> bool:
    return len(keys) == len(entity) and all(map(values.is_value, keys, entity))


def _stamps(client: redis.Redis, view: FeatureView, keys: Sequence[str]) -> list[tuple[str, str]]:
    told = client.register_script(scripts.guarded("stamps", view.layout))(keys=keys)
    texts = [text(stamp) for stamp in told]
    return list(zip(texts[::2], texts[1::2], strict=True))


def _batched(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    rest = iter(items)
    while some := list(islice(rest, size)):
        yield some
