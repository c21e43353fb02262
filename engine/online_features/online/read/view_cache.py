"""What a store remembers of the feature views it has met, so that it need not ask before it reads or writes rows."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from online_features.feature_view import FeatureView, Layout
from online_features.layouts import keyspace
from online_features.online.read.row_plan import RowPlan
from online_features.online.state.view_state import ViewState
from online_features.schema import Column, RowSchema

PLANS_KEPT = 100  # of one view: as many selections of features as one process may ask for again and again


@dataclass(frozen=True)
class KnownView:
    """How the rows of a view look in Redis.

    :param schema: types of the columns.
    :param schema_fingerprint: of the schema, as Redis records it.
    :param layout: of the rows.
    """

    schema: RowSchema
    schema_fingerprint: str | None
    layout: Layout | None

    def still_holds(self, state: ViewState) -> bool:
        """Whether rows look the same by the state that was read with them."""
        return (state.schema_fingerprint, state.layout) == (self.schema_fingerprint, self.layout)

    def plan(self, view: FeatureView, names: tuple[str, ...]) -> RowPlan:
        """How rows with these features are read.

        :param view: in the layout in which its rows are.
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


class KnownViews:
    """The views that a store has met.

    Threads may share it: what it holds is immutable, and a dictionary's single operations are atomic.
    """

    def __init__(self) -> None:
        self._by_id: dict[str, KnownView] = {}

    def recall(self, view: FeatureView) -> KnownView | None:
        """What is remembered of the view. It may be out of date, which the state read beside the rows tells."""
        return self._by_id.get(keyspace.view_id(view))

    def learn(self, view: FeatureView, state: ViewState) -> KnownView | None:
        """Remember what the state says of the view; ``None`` when there is nothing of it online."""
        if state.schema is None:
            self._by_id.pop(keyspace.view_id(view), None)
            return None
        known = KnownView(state.schema, state.schema_fingerprint, state.layout)
        self._by_id[keyspace.view_id(view)] = known
        return known
