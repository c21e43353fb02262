"""Layouts in tests: which of them hold what, and the calls that write rows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa
from online_features import FeatureView
from online_features.layouts.keyspace import FIRST_GENERATION
from online_features.layouts.layout_registry import layout_of
from online_features.online.redis._single_server import SingleServer
from online_features.online.write._row_writer import RowWriter
from online_features.schema import RowSchema

LAYOUTS_OF_TEXTS = ("hash", "json")  # a client may decode them
LAYOUTS_OF_EVERY_TYPE = ("msgpack", "hash", "json")  # of Postgres; their rows expire by the view's ttl


def write_calls(view: FeatureView, schema: RowSchema, batch: pa.RecordBatch) -> Iterator[list[Any]]:
    """Yield the buffers of each call that writes the rows to one server."""
    writer = RowWriter(SingleServer(None), layout_of(view, FIRST_GENERATION), schema)
    return (call.buffers for call in writer.calls(batch))
