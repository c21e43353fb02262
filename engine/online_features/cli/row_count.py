"""Count the rows of a view that are online."""

from __future__ import annotations

from dataclasses import dataclass

from online_features.common.batches import batched
from online_features.errors import OnlineDataError
from online_features.feature_view import FeatureView
from online_features.layouts.layout_registry import LAYOUTS
from online_features.online.generations.view_state import as_online
from online_features.online.read.stored_rows import ROWS_PER_EXCHANGE
from online_features.online.store import OnlineStore


@dataclass(frozen=True, kw_only=True)
class RowCount:
    """What is at the keys of the published generation.

    :param rows: that readers may see; Redis drops expired ones by itself.
    :param tombstones: of deleted and erased entities.
    """

    generation: str
    rows: int
    tombstones: int


def count_rows(online: OnlineStore, view: FeatureView) -> RowCount:
    """Scan for the keys of a view, and read of each whether it holds a row.

    A key that Redis shows twice, as it may while its table grows, counts twice.

    :raises OnlineAccessError: when the user may not scan.
    :raises OnlineDataError: when nothing of the view is online.
    """
    with online._stored_rows(view) as reader:
        state = reader.state()
        if state.schema is None:
            raise OnlineDataError(f"feature view {view.name!r}: nothing of it is published -> publish a build first")
        layout = LAYOUTS[state.layout or view.layout](as_online(view, state.layout), state.generation)
        keys = (key for key in reader.keys(layout.pattern(state.schema.keys)) if layout.texts(state.schema.keys, key))
        rows = tombstones = 0
        for some in batched(keys, ROWS_PER_EXCHANGE):
            replies = reader.replies(layout.read_presence, some)
            held = sum(not isinstance(reply, OnlineDataError) and layout.is_row(reply) for reply in replies)
            rows, tombstones = rows + held, tombstones + len(some) - held
    return RowCount(generation=state.generation, rows=rows, tombstones=tombstones if layout.has_generations else 0)
