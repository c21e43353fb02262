"""A store's cache of feature views, so that a read needs one round trip."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from online_features.feature_view import FeatureView, Layout
from online_features.layouts import keyspace
from online_features.layouts.layout_registry import layout_of
from online_features.online.generations.view_state import ViewState
from online_features.online.read.entity_keys import entity_keys
from online_features.schema import Column, RowSchema

PLANS_KEPT = 100  # per view: a process rarely reads more selections of features than that


class RowPlan:
    """How to read rows with certain features; made once for many reads.

    :param view: in the layout of its rows online.
    :param keys: the join key columns.
    :param features: the columns to read.
    """

    def __init__(self, view: FeatureView, keys: Sequence[Column], features: Sequence[Column]) -> None:
        self.names = [feature.name for feature in features]
        self.key = entity_keys(view, keys)
        self.format = layout_of(view).row_format(features)


@dataclass(frozen=True)
class CachedView:
    """Schema and layout of a view's rows in Redis.

    :param schema_fingerprint: of the schema, as Redis records it.
    """

    schema: RowSchema
    schema_fingerprint: str | None
    layout: Layout | None

    def matches(self, state: ViewState) -> bool:
        """Return whether the rows still have this schema and layout.

        :param state: as read together with the rows.
        """
        return (state.schema_fingerprint, state.layout) == (self.schema_fingerprint, self.layout)

    def plan(self, view: FeatureView, names: tuple[str, ...]) -> RowPlan:
        """Return the plan for reading these features.

        :param view: in the layout of its rows online.
        """
        plan = self._plans.get((view.layout, names))
        if plan is None:
            plan = RowPlan(view, self.schema.keys, [self.feature_by_name[name] for name in names])
            if len(self._plans) >= PLANS_KEPT:
                self._plans.clear()
            self._plans[view.layout, names] = plan
        return plan

    @cached_property
    def _plans(self) -> dict[tuple[Layout, tuple[str, ...]], RowPlan]:
        return {}

    @cached_property
    def feature_by_name(self) -> dict[str, Column]:
        """The feature columns, in the order of the schema."""
        return {column.name: column for column in self.schema.features}


class ViewCache:
    """The views that a store has read.

    Threads may share it: entries are immutable, and single operations of a dictionary are atomic.
    """

    def __init__(self) -> None:
        self._by_id: dict[str, CachedView] = {}

    def get(self, view: FeatureView) -> CachedView | None:
        """Return the entry of the view, which may be out of date, or ``None``."""
        return self._by_id.get(keyspace.view_id(view))

    def update(self, view: FeatureView, state: ViewState) -> CachedView | None:
        """Replace the entry of the view by one from its state; return ``None`` if no rows are online."""
        if state.schema is None:
            self._by_id.pop(keyspace.view_id(view), None)
            return None
        cached = CachedView(state.schema, state.schema_fingerprint, state.layout)
        self._by_id[keyspace.view_id(view)] = cached
        return cached
