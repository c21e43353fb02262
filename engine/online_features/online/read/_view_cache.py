"""A store's cache of feature views, so that a read needs one round trip."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from online_features.feature_view import FeatureView, Layout
from online_features.layouts import keyspace
from online_features.layouts.layout import RowLayout
from online_features.layouts.layout_registry import layout_of
from online_features.online.generations.view_state import ViewState
from online_features.online.read.entity_keys import entity_keys
from online_features.schema import Column, RowSchema

VIEWS_KEPT = 10_000  # a process that names generation after generation must not grow
PLANS_KEPT = 100  # per view: a process rarely reads more selections of features than that


class RowPlan:
    """How to read rows with certain features; made once for many reads.

    :param schema: of the rows.
    :param features: the columns to read.
    """

    def __init__(self, layout: RowLayout, schema: RowSchema, features: Sequence[Column]) -> None:
        self.names = [feature.name for feature in features]
        self.key = entity_keys(layout, schema.keys)
        self.format = layout.row_format(features, schema.features)


@dataclass(frozen=True)
class CachedView:
    """Schema and layout of the rows of a generation.

    :param schema: ``None`` if no rows are online.
    :param schema_fingerprint: of the schema, as Redis records it.
    """

    generation: str
    schema: RowSchema | None
    schema_fingerprint: str | None
    layout: Layout | None

    @classmethod
    def of(cls, state: ViewState) -> CachedView:
        """Return the entry made from the state of a generation."""
        return cls(state.generation, state.schema, state.schema_fingerprint, state.layout)

    def matches(self, state: ViewState) -> bool:
        """Return whether the rows still have this schema and layout.

        :param state: as read together with the rows.
        """
        return (state.schema_fingerprint, state.layout) == (self.schema_fingerprint, self.layout)

    def plan(self, view: FeatureView, names: tuple[str, ...]) -> RowPlan:
        """Return the plan for reading these features.

        :param view: in the layout of its rows online.
        """
        assert self.schema is not None
        plan = self._plans.get((view.layout, names))
        if plan is None:
            features = [self.feature_by_name[name] for name in names]
            plan = RowPlan(layout_of(view, self.generation), self.schema, features)
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
        return {column.name: column for column in self.schema.features} if self.schema else {}


class ViewCache:
    """The views that a store has read.

    Threads may share it: entries are immutable, and single operations of a dictionary are atomic.
    """

    def __init__(self) -> None:
        self._entries: dict[tuple[str, str | None], CachedView] = {}

    def get(self, view: FeatureView, at_generation: str | None) -> CachedView | None:
        """Return the entry of a view, which may be out of date, or ``None``.

        :param at_generation: a generation that the reader named; ``None`` for the published one.
        """
        return self._entries.get((keyspace.view_id(view), at_generation))

    def put(self, view: FeatureView, at_generation: str | None, cached: CachedView) -> None:
        """Replace the entry of a view, or remove it if no rows are online."""
        key = (keyspace.view_id(view), at_generation)
        if cached.schema is None:
            self._entries.pop(key, None)
            return
        if len(self._entries) >= VIEWS_KEPT:
            self._entries.clear()
        self._entries[key] = cached
