"""Removes entities: erased on request, pruned because the source no longer has them, or dropped with their view."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from online_features.common.batches import batched
from online_features.common.instants import to_text
from online_features.errors import InvalidRowsError
from online_features.feature_view import FeastOptions, FeatureView
from online_features.layouts import keyspace
from online_features.layouts.layout import Key
from online_features.online.generations.view_state import CLAIMS, as_online, read_state
from online_features.online.read.entity_keys import entity_key
from online_features.online.redis.deployment import KEYS_PER_CALL, Deployment
from online_features.online.write._row_script import RowScript, entities
from online_features.online.write._tombstones import carry_over
from online_features.resp.replies import text
from online_features.schema import Column, RowSchema
from online_features.types import values

LAST_OF_ALL = to_text(datetime.max.replace(tzinfo=UTC))
Lookup = Callable[[Sequence[Sequence[str]]], set[int]]


def erase(deployment: Deployment, view: FeatureView, entity_rows: Sequence[Mapping[str, Any]], *, now: datetime) -> int:
    """Erase entities and leave tombstones; see :meth:`~online_features.OnlineStore.delete`."""
    recorded = read_state(deployment, view)
    view, stored = as_online(view, recorded.layout), recorded.schema
    if stored is not None and not stored.has_entities(view.entities):
        raise InvalidRowsError(
            f"feature view {view.name!r}: what is online has entities {[key.name for key in stored.keys]}; materialize "
            "the view before you erase by other join keys"
        )
    keys = [entity_key(view, stored.keys if stored else None, row) for row in entity_rows]
    script = RowScript(deployment, view, "delete")
    return sum(sum(script(some, to_text(now), LAST_OF_ALL)) for some in batched(keys, KEYS_PER_CALL))


def prune(deployment: Deployment, view: FeatureView, keys: Sequence[Column], before: datetime, existing: Lookup) -> int:
    """Remove entities that the source no longer has.

    Entities with an event timestamp from ``before`` on stay: a push may be ahead of the source. An entity that is
    written after the source was read stays, too.

    :param existing: takes entities, as texts of their join keys, and returns the indices of those that the source has.
    :returns: how many were removed.
    """
    stamps_of, remove = RowScript(deployment, view, "stamps"), RowScript(deployment, view, "prune")
    limit = to_text(before)
    removed = 0
    for found in batched(entities(deployment, view, keys), KEYS_PER_CALL):
        seen = [(*entity, *stamp) for entity, stamp in _stamped(stamps_of, found) if "" < stamp[0] < limit]
        # Join keys that do not fit the source's types were pushed with others: the source has none of these entities.
        whole = [i for i, (_, texts, *_) in enumerate(seen) if _fits(keys, texts)]
        held = {whole[i] for i in existing([seen[i][1] for i in whole])} if whole else set()
        gone = [row for i, row in enumerate(seen) if i not in held]
        if gone:
            removed += sum(remove([key for key, *_ in gone], of_each=[stamp for _, _, *stamp in gone]))
    return removed


def _stamped(
    stamps_of: RowScript, found: Sequence[tuple[Key, list[str]]]
) -> Iterator[tuple[tuple[Key, list[str]], tuple[str, str]]]:
    """Yield each entity with its timestamps; both are empty if the key has gone since the scan."""
    keys = [key for key, _ in found]
    for part, stamps in zip(stamps_of.parts(keys), stamps_of(keys), strict=True):
        texts = [text(stamp) for stamp in stamps]
        yield from zip((found[i] for i in part), zip(texts[::2], texts[1::2], strict=True), strict=True)


def drop_view_data(deployment: Deployment, view: FeatureView, schema: RowSchema) -> None:
    """Remove a view's claims, then its rows as they were written, then what is left of its state.

    The definition is removed last, so that a run after a crash finds that there is something to remove. Tombstones
    stay: what was erased stays erased.

    :param schema: of the rows that will be written.
    """
    recorded = read_state(deployment, view)
    deployment.command("HDEL", keyspace.state_key(view), *CLAIMS)
    keys = recorded.schema.keys if recorded.schema else ()
    written = replace(
        view, layout=recorded.layout or view.layout, entities=[key.name for key in keys] or view.entities,
        features=None, feast=FeastOptions(),
    )  # fmt: skip
    carry_over(deployment, written, keys, view, schema.keys)
    remove = RowScript(deployment, written, "clear")
    for some in batched(entities(deployment, written, keys), KEYS_PER_CALL):
        remove([key for key, _ in some])
    deployment.command("DEL", keyspace.features_key(view), keyspace.state_key(view))


def _fits(keys: Sequence[Column], entity: Sequence[str]) -> bool:
    return len(keys) == len(entity) and all(map(values.is_value, keys, entity))
