from __future__ import annotations

from typing import Any

import pytest
from online_features import FeatureView, PostgresSource
from online_features.errors import FeatureViewError
from online_features_provider.view_reference import feature_view_of

view = FeatureView(name="view", entities=["id"], source=PostgresSource(table="rows", timestamp_field="ts"))


@pytest.mark.parametrize("reference", [view, f"{__name__}.view", f"{__name__}:view"])
def test_a_view_is_found(reference: Any) -> None:
    assert feature_view_of(reference) is view


@pytest.mark.parametrize(
    "reference, problem",
    [
        (f"{__name__}.other", "cannot be imported: .*'other'"),
        ("no_such_module.view", "cannot be imported: No module named 'no_such_module'"),
        ("not an import path", "cannot be imported: invalid format"),
        (f"{__name__}.pytest", "is a module, not a feature view"),
        (7, "feature_view=7 is not a feature view"),
    ],
)
def test_what_is_no_view_is_told_with_the_cure(reference: Any, problem: str) -> None:
    with pytest.raises(FeatureViewError, match=f"{problem}.* -> give a FeatureView, or its import path"):
        feature_view_of(reference)
