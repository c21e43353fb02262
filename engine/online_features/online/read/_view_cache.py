"""A store's cache of feature views, so that a read needs one round trip."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from typing import Any, TypeAlias, TypeVar

from online_features.feature_view import FeatureView, Layout
from online_features.layouts.keyspace import FIRST_GENERATION
from online_features.layouts.layout import RowLayout
from online_features.layouts.layout_registry import layout_of
from online_features.online.generations.view_state import ViewState
from online_features.online.read._state_query import state_of_reply
from online_features.online.read.entity_keys import entity_keys
from online_features.schema import Column, RowSchema

# The id of a view, and a generation that the reader named; ``None`` for the published one.
CacheKey: TypeAlias = tuple[str, str | None]

Key = TypeVar("Key")
Value = TypeVar("Value")

VIEWS_KEPT = 10_000  # a process that names generation after generation must not grow
PLANS_KEPT = 100  # per view: a process rarely reads more selections of features than that


class RowPlan:
    """How to read rows with certain features; made once for many reads.

    :param schema: of the rows.
    :param features: the columns to read.
    :param numpy_arrays: see :meth:`.RowLayout.row_format`.
    """

    def __init__(self, layout: RowLayout, schema: RowSchema, features: Sequence[Column], *, numpy_arrays: bool) -> None:
        self.names = [feature.name for feature in features]
        self.keys = entity_keys(layout, schema.keys)
        self.format = layout.row_format(features, schema.features, numpy_arrays=numpy_arrays)


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

    def state(self, view: FeatureView, fields: Sequence[str], reply: Any) -> ViewState:
        """Return the state in a reply, which is parsed again only if it differs from the last one.

        :param reply: of :func:`.fields_command`.
        :raises OnlineDataError: when this package has not written it.
        """
        stored = tuple(reply) if isinstance(reply, list) else None
        state = self._last_state.get(stored)
        if state is None:
            state = state_of_reply(view, self.generation, fields, reply)
            self._last_state.clear()
            self._last_state[stored] = state
        return state

    def matches(self, state: ViewState) -> bool:
        """Return whether the rows have this generation, schema and layout.

        :param state: as read together with the rows, or recently.
        """
        return (state.generation, state.schema_fingerprint, state.layout) == (
            self.generation, self.schema_fingerprint, self.layout
        )  # fmt: skip

    def plan(self, view: FeatureView, names: tuple[str, ...], *, numpy_arrays: bool) -> RowPlan:
        """Return the plan for reading these features.

        :param view: in the layout of its rows online.
        :param numpy_arrays: see :meth:`.RowLayout.row_format`.
        """
        assert self.schema is not None
        key = view.layout, names, numpy_arrays
        plan = self._plans.get(key)
        if plan is None:
            features = [self.feature_by_name[name] for name in names]
            plan = RowPlan(layout_of(view, self.generation), self.schema, features, numpy_arrays=numpy_arrays)
            if len(self._plans) >= PLANS_KEPT:
                self._plans.clear()
            self._plans[key] = plan
        return plan

    @cached_property
    def _last_state(self) -> dict[tuple[Any, ...] | None, ViewState]:
        return {}

    @cached_property
    def _plans(self) -> dict[tuple[Layout, tuple[str, ...], bool], RowPlan]:
        return {}

    @cached_property
    def feature_by_name(self) -> dict[str, Column]:
        """The feature columns, in the order of the schema."""
        return {column.name: column for column in self.schema.features} if self.schema else {}


class ViewCache:
    """The views that a store has read.

    Threads may share it: entries are immutable, and single operations of a dictionary are atomic.

    :param pointer_max_age: how long states are recent.
    """

    def __init__(self, pointer_max_age: timedelta = timedelta(0)) -> None:
        self._max_age = pointer_max_age.total_seconds()
        self._entries: dict[CacheKey, CachedView] = {}
        self._noted: dict[tuple[CacheKey, ...], tuple[float, Sequence[ViewState]]] = {}

    def get(self, key: CacheKey) -> CachedView | None:
        """Return the entry of a view, which may be out of date, or ``None``."""
        return self._entries.get(key)

    def put(self, key: CacheKey, cached: CachedView) -> None:
        """Replace the entry of a view, or remove it if no rows are online."""
        if cached.schema is None:
            self._entries.pop(key, None)
        else:
            _put(self._entries, key, cached)

    def note(self, keys: tuple[CacheKey, ...], states: Sequence[ViewState], read_at: float) -> None:
        """Keep the states of views whose generations one reading of the pointer has named.

        The first generation may change its types, and its layout, in place.

        :param read_at: the monotonic time before they were read.
        """
        if self._max_age and all(state.generation != FIRST_GENERATION for state in states):
            _put(self._noted, keys, (read_at, states))

    def recent_states(self, keys: tuple[CacheKey, ...]) -> Sequence[ViewState] | None:
        """Return the states of views that were noted together, if they are recent."""
        read_at, states = self._noted.get(keys, (0.0, None))
        return states if time.monotonic() - read_at < self._max_age else None


def _put(entries: dict[Key, Value], key: Key, value: Value) -> None:
    if len(entries) >= VIEWS_KEPT:
        entries.clear()
    entries[key] = value
