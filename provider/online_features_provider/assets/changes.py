"""Changes of a feature view's source as an asset, so that a DAG runs when rows are committed."""

from __future__ import annotations

from typing import Any

from airflow.sdk import Asset, AssetWatcher
from online_features.feature_view import FeatureView

from online_features_provider.assets.feature_view import CHANGES, feature_view_asset
from online_features_provider.triggers.changes import FeatureViewChangeTrigger
from online_features_provider.view_reference import feature_view_of


def source_changes(feature_view: FeatureView | str, **trigger: Any) -> Asset:
    """Return the asset that has an event whenever rows were committed to a view's source.

    Use it as a schedule: ``schedule=[source_changes(plane_trips)]``. Give the DAG ``max_active_runs=1``, and
    materialize the view in it with ``window="incremental"``. Commits during a run start one more run.

    :param feature_view: the view, or its import path.
    :param trigger: other arguments of :class:`.FeatureViewChangeTrigger`.
    :raises FeatureViewError: when the view reads a query and ``tables=`` is missing.
    """
    view = feature_view_of(feature_view)
    watcher = AssetWatcher(
        name=f"{view.project}.{view.name} {CHANGES}", trigger=FeatureViewChangeTrigger(feature_view=view, **trigger)
    )
    return Asset(uri=f"{feature_view_asset(view).uri}/{CHANGES}", watchers=[watcher])
