"""One entity in both stores, side by side."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from online_features.feature_view import FeatureView
from online_features.layouts.layout_registry import layout_of
from online_features.types import values
from online_features.verification._values import mismatches
from online_features.window import LAST_INSTANT

if TYPE_CHECKING:
    from online_features.offline.store import OfflineStore
    from online_features.online.read.online_rows import OnlineRow

LOOKED_UP = 2  # rows at most: the newest one of an entity is one


@dataclass(frozen=True, kw_only=True)
class EntityComparison:
    """The newest row of an entity in the source, beside its row online.

    :param event_timestamp: of the row in the source; ``None`` if there is none, or it says that the entity is gone.
    :param values: of its features, as readers would get them; empty if there is no row.
    :param different: names of features, and of the event timestamp, that differ from the row online.
    """

    event_timestamp: datetime | None
    values: Mapping[str, Any]
    different: frozenset[str]


def compare_entity(view: FeatureView, offline: OfflineStore, online: OnlineRow, generation: str) -> EntityComparison:
    """Compare an entity's row online with the newest one in the source.

    :param view: without a transform, which only runs could apply.
    :param generation: from which the row online is.
    :raises SourceError: when the view does not fit the database.
    :raises TransientError: when Postgres cannot be reached or broke off.
    """
    source = offline._source(view)
    schema = source.describe()
    texts = [values.encode_key(key, online.entity[key.name]) for key in schema.keys]
    with source.lookup(schema) as existing:
        is_there = bool(existing([texts]))
    layout = layout_of(view, generation)
    encoder, rows = layout.encoder(schema), layout.row_format(schema.features, schema.features)
    timestamp: datetime | None = None
    features: Mapping[str, Any] = {}
    if is_there:
        with source.snapshot(source.plan_of_entities(schema, LAST_INSTANT, [texts])) as snapshot:
            for batch in snapshot.batches(LOOKED_UP):
                stored = encoder.stored(batch)
                if not stored.deletes.any():
                    ((timestamp, features),) = rows.rows(list(map(layout.features_in, stored.replies)))
    if (timestamp is None) != (online.event_timestamp is None):
        different = {view.source.timestamp_field, *online.values}
    else:
        different = set(mismatches(schema.features, features, online.values)) if timestamp else set()
        different |= {view.source.timestamp_field} if timestamp != online.event_timestamp else set()
    return EntityComparison(event_timestamp=timestamp, values=features, different=frozenset(different))
