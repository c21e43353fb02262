"""Reads rows back: one round trip for any number of entities, typed values, no Arrow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import redis

from online_features.errors import InvalidRowsError, OnlineDataError
from online_features.feature_view import FeatureView
from online_features.instants import from_text
from online_features.online import state
from online_features.online.erasure import entity_key
from online_features.online.row_formats import ROW_FORMATS
from online_features.online.rows import OnlineRow, OnlineRows
from online_features.schema import Column


def read_rows(
    client: redis.Redis,
    view: FeatureView,
    entity_rows: Sequence[Mapping[str, Any]],
    features: Sequence[str] | None,
    *,
    now: datetime,
) -> OnlineRows:
    """The rows of the entities; see :meth:`~online_features.OnlineStore.get_online_features`."""
    schema = state.read_state(client, view).schema
    if schema is None or not schema.has_entities(view.entities):
        names = features or view.features or ()
        return OnlineRows(_row(entity, "not_found", names) for entity in entity_rows)
    columns = _chosen(view, schema.features, features)
    with client.pipeline(transaction=False) as pipeline:
        for entity in entity_rows:
            key = entity_key(view, schema.keys, entity)
            ROW_FORMATS[view.layout].ask(pipeline, view, key, columns)
        replies = pipeline.execute()
    return OnlineRows(
        _read(view, entity, columns, reply, now) for entity, reply in zip(entity_rows, replies, strict=True)
    )


def _read(
    view: FeatureView, entity: Mapping[str, Any], columns: Sequence[Column], reply: Any, now: datetime
) -> OnlineRow:
    names = [column.name for column in columns]
    try:
        timestamp, read = ROW_FORMATS[view.layout].read(reply, columns)
        if timestamp is None:
            return _row(entity, "not_found", names)
        event_timestamp = from_text(timestamp)
    except (OnlineDataError, ValueError) as error:
        raise OnlineDataError(f"feature view {view.name!r}: the row of {dict(entity)!r} is damaged: {error}") from error
    if view.ttl is not None and event_timestamp <= now - view.ttl:
        return _row(entity, "expired", names)
    return OnlineRow(entity=entity, status="present", event_timestamp=event_timestamp, values=read)


def _row(entity: Mapping[str, Any], status: Any, names: Sequence[str]) -> OnlineRow:
    return OnlineRow(entity=entity, status=status, event_timestamp=None, values=dict.fromkeys(names))


def _chosen(view: FeatureView, columns: Sequence[Column], features: Sequence[str] | None) -> Sequence[Column]:
    by_name = {column.name: column for column in columns}
    names = features if features is not None else view.features if view.features is not None else tuple(by_name)
    unknown = [name for name in names if name not in by_name]
    if unknown:
        raise InvalidRowsError(
            f"feature view {view.name!r}: feature {unknown[0]!r} is not online; its last run wrote "
            f"{', '.join(map(repr, by_name))}"
        )
    return [by_name[name] for name in names]
