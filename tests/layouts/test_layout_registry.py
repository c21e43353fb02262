"""The layouts that users may name are those that there are."""

from __future__ import annotations

from online_features.feature_view import LAYOUTS
from online_features.layouts import layout_registry
from online_features.online.redis import scripts


def test_every_layout_of_the_vocabulary_is_registered() -> None:
    assert tuple(layout_registry.LAYOUTS) == LAYOUTS


def test_every_layout_has_its_functions_for_scripts() -> None:
    for layout in layout_registry.LAYOUTS.values():
        for function in ("stamp_of", "row", "put", "bury", "remove"):
            assert f"local function {function}(" in scripts.row_functions(layout)
