"""How rows of a view are read, decided once for many readings."""

from __future__ import annotations

from collections.abc import Sequence

from online_features.feature_view import FeatureView
from online_features.layouts.registry import layout_of
from online_features.online.read.entity_keys import entity_keys
from online_features.schema import Column


class RowPlan:
    """How rows with certain features are read.

    :param view: in the layout in which its rows are; only what its keys and fields are called by counts.
    :param keys: types of the join keys.
    :param features: that are wanted.
    """

    def __init__(self, view: FeatureView, keys: Sequence[Column], features: Sequence[Column]) -> None:
        self.names = [feature.name for feature in features]
        self.key = entity_keys(view, keys)
        self.format = layout_of(view).row_format(features)
