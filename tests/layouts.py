"""For modules that hold for every layout: importing the fixture runs their tests with each."""

from __future__ import annotations

import pytest
from online_features.feature_view import LAYOUTS


@pytest.fixture(params=LAYOUTS)
def layout(request: pytest.FixtureRequest) -> str:
    return str(request.param)
