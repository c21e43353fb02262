"""What a task reads and writes."""

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
    """Datasets and result of a run or a push.

    :param source: the table that rows are read from; ``None`` for a query and for a push.
    :param appended: the table that rows are appended to.
    :param online: the view in Redis that rows are written to.
    :param store: the online store, which records columns and types.
    :param result: counters by name; empty until the task has succeeded.
    """

    view: FeatureView
    source: DatasetLocation | None
    appended: DatasetLocation | None
    online: DatasetLocation | None
    store: OnlineStore | None
    result: dict[str, Any] = field(default_factory=dict)

    def schema(self) -> RowSchema | None:
        """Return the columns online, or ``None`` if they cannot be read."""
        try:
            return self.store.state(self.view).schema if self.store is not None else None
        except OnlineFeaturesError:  # Lineage without columns is better than none.
            return None
