"""Features from Postgres to Redis, the newest row of each entity, scheduled by Airflow.

It knows nothing of Airflow: operators, sensors and hooks are in ``online_features_provider``.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from online_features.feature_view import FeastOptions as FeastOptions
    from online_features.feature_view import FeatureView as FeatureView
    from online_features.feature_view import PostgresSource as PostgresSource
    from online_features.materialization.materialize import materialize as materialize
    from online_features.materialization.result import MaterializationResult as MaterializationResult
    from online_features.offline.store import OfflineStore as OfflineStore
    from online_features.online.async_store import AsyncOnlineStore as AsyncOnlineStore
    from online_features.online.store import OnlineStore as OnlineStore

# Imported when first used: a DAG file that only names a feature view loads no driver, and a process that only
# reads loads no Arrow.
_MODULES = {
    "FeastOptions": "feature_view",
    "FeatureView": "feature_view",
    "PostgresSource": "feature_view",
    "MaterializationResult": "materialization.result",
    "materialize": "materialization.materialize",
    "OfflineStore": "offline.store",
    "OnlineStore": "online.store",
    "AsyncOnlineStore": "online.async_store",
}

__all__ = [*_MODULES]  # noqa: PLE0604


def __dir__() -> list[str]:
    return sorted(__all__)


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
