"""Fixtures that run a module's tests with each layout, where they are imported."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pytest
from online_features import FeatureView
from online_features.feature_view import LAYOUTS
from online_features.online.redis._single_server import SingleServer
from online_features.online.write._row_writer import RowWriter
from online_features.schema import RowSchema

LAYOUTS_OF_TEXTS = ("hash", "json")  # they hold every type of Postgres, and rows expire by the view's ttl


@pytest.fixture(params=LAYOUTS)
def layout(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(name="layout", params=LAYOUTS_OF_TEXTS)
def layout_of_texts(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def write_calls(view: FeatureView, schema: RowSchema, batch: pa.RecordBatch) -> Iterator[list[Any]]:
    """Yield the buffers of each call that writes the rows to one server."""
    return (call.buffers for call in RowWriter(SingleServer(None), view, schema).calls(batch))
