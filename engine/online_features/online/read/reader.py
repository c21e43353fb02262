"""Everything a store can be asked by a reader, as conversations that it holds with or without asyncio."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TypeAlias

from online_features.errors import InvalidRowsError
from online_features.feature_view import FeatureView
from online_features.online.read.consistency import Bounds
from online_features.online.read.entity_freshness_check import EntityFreshnessCheck
from online_features.online.read.entity_keys import Entity
from online_features.online.read.feature_vectors import FeatureVectors, read_vectors
from online_features.online.read.freshness import Freshness
from online_features.online.read.online_rows import OnlineRows
from online_features.online.read.row_query import Request, read_freshness, read_rows
from online_features.online.read.view_cache import KnownViews
from online_features.online.read.view_freshness_check import CheckResult, ViewFreshnessCheck
from online_features.online.redis.conversation import Conversation
from online_features.window import aware

FreshnessCheck: TypeAlias = ViewFreshnessCheck | EntityFreshnessCheck


class Reader:
    """One store's reading.

    :param views: what the store remembers of the views; every conversation uses it and adds to it.
    """

    def __init__(self, views: KnownViews) -> None:
        self._views = views

    def rows(
        self, view: FeatureView, entity_rows: Sequence[Entity], features: Sequence[str] | None, bounds: Bounds
    ) -> Conversation[OnlineRows]:
        """See :meth:`~online_features.OnlineStore.get_online_features`."""
        now = datetime.now(UTC)
        return read_rows(Request(view, entity_rows, features, bounds, now), self._views)

    def vectors(
        self,
        views: Sequence[FeatureView],
        entity_rows: Sequence[Entity],
        features: Mapping[str, Sequence[str]] | None,
        bounds: Bounds,
        *,
        full_names: bool,
    ) -> Conversation[FeatureVectors]:
        """See :meth:`~online_features.OnlineStore.get_feature_vectors`."""
        now = datetime.now(UTC)
        if isinstance(views, FeatureView) or not (features is None or isinstance(features, Mapping)):
            raise InvalidRowsError(
                "give a list of feature views, and in features= a list of names for each view's name"
            )
        chosen = dict(features or {})
        requests = [Request(view, entity_rows, chosen.pop(view.name, None), bounds, now) for view in views]
        if not requests:
            raise InvalidRowsError("a feature vector needs at least one feature view")
        if chosen:
            raise InvalidRowsError(f"features= names feature view {next(iter(chosen))!r}, which is none of those read")
        return read_vectors(requests, self._views, full_names=full_names)

    def freshness(self, view: FeatureView, now: datetime | None) -> Conversation[Freshness]:
        """See :meth:`~online_features.OnlineStore.freshness`."""
        return read_freshness(view, datetime.now(UTC) if now is None else aware("now", now))

    def check(self, check: FreshnessCheck, primaries: int) -> Conversation[CheckResult]:
        """See :meth:`~online_features.OnlineStore.check`."""
        return check.ask(self._views, datetime.now(UTC), primaries)
