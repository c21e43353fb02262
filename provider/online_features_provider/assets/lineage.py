"""What a task reads and writes, as known before it begins, and its result, as known when it has ended."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from online_features.errors import OnlineFeaturesError
from online_features.feature_view import FeatureView

from online_features_provider.assets.dataset_locations import DatasetLocation

if TYPE_CHECKING:
    from online_features.online.store import OnlineStore
    from online_features.schema import RowSchema


@dataclass(kw_only=True)
class Lineage:
    """Of a run or a push.

    :param source: where rows are read from; ``None`` for a query and for a push.
    :param appended: where rows are appended.
    :param online: where rows are written.
    :param store: the online store, which knows columns and types.
    :param result: counters by name; empty until the task has succeeded.
    """

    view: FeatureView
    source: DatasetLocation | None
    appended: DatasetLocation | None
    online: DatasetLocation | None
    store: OnlineStore | None
    result: dict[str, Any] = field(default_factory=dict)

    def schema(self) -> RowSchema | None:
        """The columns of what is online, if Redis tells them."""
        try:
            return self.store.state(self.view).schema if self.store is not None else None
        except OnlineFeaturesError:  # Better lineage without columns than none.
            return None
