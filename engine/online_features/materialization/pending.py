"""Pending rows: those that a run would take online."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from online_features.errors import SourceError
from online_features.feature_view import FeatureView
from online_features.schema import Column
from online_features.window import Arrivals, default_lookback

if TYPE_CHECKING:
    from online_features.offline.store import OfflineStore
    from online_features.online.store import OnlineStore

# How far before its writing a row may be stamped: the longest day; a fraction of a second that was cut off.
RESOLUTION = {"date": timedelta(hours=25)}
DEFAULT_RESOLUTION = timedelta(seconds=1)


def has_pending_rows(view: FeatureView, offline: OfflineStore, online: OnlineStore) -> bool:
    """Return whether the source may hold rows that no run has taken online yet; in doubt ``True``.

    It costs little where an index serves.

    :param view: only its name, project and source are used.
    """
    state = online.state(view)
    if state.cursor is None or state.schema is None:
        return True
    created = state.schema.created_timestamp
    schema = replace(
        state.schema,
        created_resolution=_resolution(created) if created is not None else timedelta(0),
        event_resolution=_resolution(state.schema.event_timestamp),
    )
    lookback = default_lookback(None, is_blind=created is None)
    arrivals = Arrivals.since(state.cursor, schema, lookback=lookback, now=datetime.now(UTC))
    source = offline._source(view)
    try:
        if source.has_rows(schema, arrivals):
            return True
        return state.source is not None and bool(source.relations(schema).replaced_since(state.source))
    except SourceError:  # The source has changed: the error of a run says best how.
        return True


def _resolution(column: Column) -> timedelta:
    return RESOLUTION.get(column.type, DEFAULT_RESOLUTION)
