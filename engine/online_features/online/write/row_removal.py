"""Removes rows in place: entities that the source no longer has, or all rows of a generation."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime

from online_features.common.batches import batched
from online_features.feature_view import FeastOptions, FeatureView
from online_features.layouts import keyspace
from online_features.layouts.layout import Key, RowLayout
from online_features.layouts.layout_registry import layout_of
from online_features.online.generations.view_state import CLAIMS, read_state
from online_features.online.redis.deployment import KEYS_PER_CALL, Deployment
from online_features.online.write._row_script import RowScript, entities
from online_features.resp.commands import CommandForm
from online_features.schema import Column
from online_features.types import values

Lookup = Callable[[Sequence[Sequence[str]]], set[int]]


def prune(deployment: Deployment, layout: RowLayout, keys: Sequence[Column], before: datetime, existing: Lookup) -> int:
    """Remove entities that the source no longer has.

    Entities with an event timestamp from ``before`` on stay: a push may be ahead of the source. An entity that is
    written after the source was read stays, too.

    :param existing: takes entities, as texts of their join keys, and returns the indices of those that the source has.
    :returns: how many were removed.
    """
    stamps_of, remove = RowScript(deployment, layout, "stamps"), RowScript(deployment, layout, "prune")
    removed = 0
    for found in batched(entities(deployment, layout, keys), KEYS_PER_CALL):
        stamped = _stamped(stamps_of, found)
        seen = [(*entity, *stamp) for entity, stamp in stamped if layout.instant(stamp[0]) < before]
        # Join keys that do not fit the source's types were pushed with others: the source has none of these entities.
        whole = [i for i, (_, texts, *_) in enumerate(seen) if _fits(keys, texts)]
        held = {whole[i] for i in existing([seen[i][1] for i in whole])} if whole else set()
        gone = [row for i, row in enumerate(seen) if i not in held]
        if gone:
            removed += sum(remove([key for key, *_ in gone], of_each=[stamp for _, _, *stamp in gone]))
    return removed


def _stamped(
    stamps_of: RowScript, found: Sequence[tuple[Key, list[str]]]
) -> Iterator[tuple[tuple[Key, list[str]], tuple[Key, Key]]]:
    """Yield each entity that has a row, with its timestamps."""
    keys = [key for key, _ in found]
    for part, stamps in zip(stamps_of.parts(keys), stamps_of(keys), strict=True):
        for i, timestamp, created, flags in zip(part, stamps[::3], stamps[1::3], stamps[2::3], strict=True):
            if timestamp and not flags & keyspace.TOMBSTONE:
                yield found[i], (timestamp, created)


def drop_view_data(deployment: Deployment, view: FeatureView, generation: str) -> None:
    """Remove a generation's claims, then its rows as they were written, then what is left of its state.

    The definition is removed last, so that a run after a crash finds that there is something to remove.
    """
    recorded = read_state(deployment, view, generation)
    state_key = keyspace.generation_key(view, generation)
    deployment.command("HDEL", state_key, *CLAIMS)
    keys = recorded.schema.keys if recorded.schema else ()
    written = replace(
        view, layout=recorded.layout or view.layout, entities=[key.name for key in keys] or view.entities,
        features=None, feast=FeastOptions(),
    )  # fmt: skip
    layout = layout_of(written, generation)
    remove = RowScript(deployment, layout, "clear")
    for some in batched(entities(deployment, layout, keys), KEYS_PER_CALL):
        remove([key for key, _ in some])
    deployment.command("DEL", keyspace.statistics_key(view, generation))
    deployment.command("DEL", keyspace.features_key(view), state_key)


def remove_first_generation(deployment: Deployment, view: FeatureView) -> None:
    """Remove what is left at keys of the first generation, which layout ``feast`` does not use."""
    for some in batched(deployment.scan(f"{keyspace.entity_prefix(view, keyspace.FIRST_GENERATION)}*"), KEYS_PER_CALL):
        deployment.replies([(CommandForm("UNLINK"), key) for key in some])


def _fits(keys: Sequence[Column], entity: Sequence[str]) -> bool:
    return len(keys) == len(entity) and all(map(values.is_value, keys, entity))
