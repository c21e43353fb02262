"""What the synchronous and the asynchronous store share: every read, as a conversation without I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TypeAlias

from online_features import arguments
from online_features.errors import InvalidRowsError
from online_features.extras import needs_materialize
from online_features.feature_view import FeatureView
from online_features.layouts.layout_registry import LAYOUTS
from online_features.online.read._row_query import RowQuery, read_rows
from online_features.online.read._state_query import read_freshness
from online_features.online.read._view_cache import ViewCache
from online_features.online.read.entity_freshness_check import EntityFreshnessCheck
from online_features.online.read.entity_keys import Entity
from online_features.online.read.feature_vectors import FeatureVectors, read_vectors
from online_features.online.read.freshness import Freshness, FreshnessBounds
from online_features.online.read.online_rows import OnlineRows
from online_features.online.read.overview.overview_query import read_overview, read_stored_view, read_summary
from online_features.online.read.overview.stored_view import StoredView
from online_features.online.read.overview.view_summary import ViewSummary
from online_features.online.read.statistics_query import read_statistics
from online_features.online.read.view_freshness_check import FreshnessResult, ViewFreshnessCheck
from online_features.online.redis.conversation import Conversation
from online_features.statistics.view_statistics import ViewStatistics
from online_features.window import aware

FreshnessCheck: TypeAlias = ViewFreshnessCheck | EntityFreshnessCheck


class StoreReader:
    """Validate the arguments of a store's reads, and return the conversation of each.

    :param pointer_max_age: see :class:`~online_features.OnlineStore`.
    """

    def __init__(self, pointer_max_age: timedelta) -> None:
        arguments.check(pointer_max_age=pointer_max_age)
        self._views = ViewCache(pointer_max_age)

    def rows(
        self,
        view: FeatureView,
        entity_rows: Sequence[Entity],
        features: Sequence[str] | None,
        bounds: FreshnessBounds,
        at_generation: str | None,
        *,
        numpy_arrays: bool,
    ) -> Conversation[OnlineRows]:
        """Read rows; see :meth:`~online_features.OnlineStore.get_online_features`."""
        arguments.check(view=view, entity_rows=entity_rows, numpy_arrays=numpy_arrays)
        _need_numpy(numpy_arrays=numpy_arrays)
        arguments.check_given(features=features, at_generation=at_generation)
        _check_generations([view], {view.name: at_generation} if at_generation is not None else {})
        query = RowQuery(view, entity_rows, features, bounds, datetime.now(UTC), at_generation, numpy_arrays)
        return read_rows(query, self._views)

    def vectors(
        self,
        views: Sequence[FeatureView],
        entity_rows: Sequence[Entity],
        features: Mapping[str, Sequence[str]] | None,
        bounds: FreshnessBounds,
        at_generation: Mapping[str, str] | None,
        *,
        full_feature_names: bool,
        numpy_arrays: bool,
    ) -> Conversation[FeatureVectors]:
        """Read feature vectors; see :meth:`~online_features.OnlineStore.get_feature_vectors`."""
        arguments.check(
            views=views, entity_rows=entity_rows, full_feature_names=full_feature_names, numpy_arrays=numpy_arrays
        )
        _need_numpy(numpy_arrays=numpy_arrays)
        if not (features is None or isinstance(features, Mapping)):
            raise InvalidRowsError(f"features= must map the names of views to lists of features, not be {features!r}")
        if not (at_generation is None or isinstance(at_generation, Mapping)):
            raise InvalidRowsError(
                f"at_generation= must map the names of views to generations, not be {at_generation!r}"
            )
        chosen, now = dict(features or {}), datetime.now(UTC)
        generations = dict(at_generation or {})
        _check_generations(views, generations)
        queries = [
            RowQuery(
                view, entity_rows, chosen.pop(view.name, None), bounds, now, generations.get(view.name), numpy_arrays
            )
            for view in views
        ]
        if not queries:
            raise InvalidRowsError("a feature vector needs at least one feature view")
        if chosen:
            raise InvalidRowsError(f"features= names feature view {next(iter(chosen))!r}, which is not among views=")
        return read_vectors(queries, self._views, full_names=full_feature_names)

    def freshness(self, view: FeatureView, now: datetime | None) -> Conversation[Freshness]:
        """Read a view's freshness; see :meth:`~online_features.OnlineStore.freshness`."""
        arguments.check(view=view)
        return read_freshness(view, datetime.now(UTC) if now is None else aware("now", now))

    def statistics(self, view: FeatureView, generation: str | None) -> Conversation[ViewStatistics | None]:
        """Read statistics; see :meth:`~online_features.OnlineStore.statistics`."""
        arguments.check(view=view)
        arguments.check_given(generation=generation)
        return read_statistics(view, generation)

    def overview(self) -> Conversation[list[ViewSummary]]:
        """Read the summaries of all views; see :meth:`~online_features.OnlineStore.overview`."""
        return read_overview(datetime.now(UTC))

    def summary(self, name: str) -> Conversation[ViewSummary]:
        """Read the summary of a view; see :meth:`~online_features.OnlineStore.summary`."""
        arguments.check(name=name)
        return read_summary(name, datetime.now(UTC))

    def stored_view(self, name: str) -> Conversation[StoredView]:
        """Read the definition of a view; see :meth:`~online_features.OnlineStore.stored_view`."""
        arguments.check(name=name)
        return read_stored_view(name)

    def check(self, check: FreshnessCheck, primaries: int) -> Conversation[FreshnessResult]:
        """Run a freshness check; see :meth:`~online_features.OnlineStore.check`.

        :param primaries: number of nodes to sample entities from.
        """
        return check.ask(self._views, datetime.now(UTC), primaries)


def _need_numpy(*, numpy_arrays: bool) -> None:
    """Make sure that NumPy is there if it is asked for: reading alone does not need it.

    :raises MissingExtraError: when it is not installed.
    """
    if numpy_arrays:
        with needs_materialize("for numpy_arrays=True"):
            import numpy  # noqa: F401


def _check_generations(views: Sequence[FeatureView], generations: Mapping[str, str]) -> None:
    """Refuse generations of views that are not read, or that have none.

    :raises InvalidRowsError: naming the view.
    """
    names = {view.name: view for view in views}
    for name, generation in generations.items():
        arguments.check(at_generation=generation)
        if name not in names:
            raise InvalidRowsError(f"at_generation= names feature view {name!r}, which is not among views=")
        if not LAYOUTS[names[name].layout].has_generations:
            raise InvalidRowsError(f"feature view {name!r}: layout {names[name].layout!r} has no generations")
