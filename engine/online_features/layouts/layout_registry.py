"""All layouts, by their names."""

from __future__ import annotations

from collections.abc import Mapping

from online_features.feature_view import FeatureView
from online_features.layouts.feast.feast_layout import FeastLayout
from online_features.layouts.hash.hash_layout import HashLayout
from online_features.layouts.json.json_layout import JsonLayout
from online_features.layouts.layout import RowLayout
from online_features.layouts.msgpack.msgpack_layout import MsgpackLayout

LAYOUTS: Mapping[str, type[RowLayout]] = {
    layout.name: layout for layout in (MsgpackLayout, HashLayout, JsonLayout, FeastLayout)
}


def layout_of(view: FeatureView, generation: str) -> RowLayout:
    """Return the layout of the rows of a generation of the view."""
    return LAYOUTS[view.layout](view, generation)
