"""Changes of a feature view's source as an asset, so that a DAG runs when a producer has committed."""

from __future__ import annotations

from typing import Any

from airflow.sdk import Asset, AssetWatcher
from online_features.feature_view import FeatureView

from online_features_provider.assets.feature_view_asset import CHANGES, feature_view_asset
from online_features_provider.triggers.feature_view_change import FeatureViewChangeTrigger
from online_features_provider.view_reference import feature_view_of


def source_changes(feature_view: FeatureView | str, **trigger: Any) -> Asset:
    """The asset that stands for changes of a view's source: ``schedule=[source_changes(plane_trips)]``.

    Materialize the view in the DAG with ``window="incremental"``, and give it ``max_active_runs=1``: what is committed
    while a run is under way makes one more run.

    :param feature_view: a feature view, or where to import one from.
    :param trigger: other arguments of :class:`.FeatureViewChangeTrigger`.
    :raises FeatureViewError: when the view is read from a query and no ``tables`` are given.
    """
    view = feature_view_of(feature_view)
    watcher = AssetWatcher(
        name=f"{view.project}.{view.name} {CHANGES}", trigger=FeatureViewChangeTrigger(feature_view=view, **trigger)
    )
    return Asset(uri=f"{feature_view_asset(view).uri}/{CHANGES}", watchers=[watcher])
