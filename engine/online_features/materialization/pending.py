"""Pending rows: those that the next run would write online."""

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

# How much earlier than its writing a row may be stamped, by the type of the timestamp: by the longest day, or by the
# fraction of a second that a column may cut off. The view's state does not record how many digits the columns keep.
RESOLUTION = {"date": timedelta(hours=25)}
DEFAULT_RESOLUTION = timedelta(seconds=1)


def has_pending_rows(view: FeatureView, offline: OfflineStore, online: OnlineStore) -> bool:
    """Return whether the source may hold rows that no run has written online yet; ``True`` if in doubt.

    With an index on the timestamps, this costs little.

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
    except SourceError:  # The source has changed; the next run fails with a better message.
        return True


def _resolution(column: Column) -> timedelta:
    return RESOLUTION.get(column.type, DEFAULT_RESOLUTION)
