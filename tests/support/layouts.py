"""For modules that hold for every layout: importing the fixture runs their tests with each."""

from __future__ import annotations

import pytest
from online_features.feature_view import LAYOUTS

LAYOUTS_OF_TEXTS = ("hash", "json")  # they hold every type of Postgres, and rows end with the view's ttl


@pytest.fixture(params=LAYOUTS)
def layout(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(name="layout", params=LAYOUTS_OF_TEXTS)
def layout_of_texts(request: pytest.FixtureRequest) -> str:
    return str(request.param)
