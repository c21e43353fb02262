"""Layouts: how a row is stored in Redis. Each is a pure function from a record batch to command bytes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import pyarrow as pa

from online_features.feature_view import FeatureView
from online_features.online.layouts.hash import HashEncoder
from online_features.online.resp import Buffers
from online_features.schema import RowSchema


class Encoder(Protocol):
    """Encodes rows of one feature view for one layout."""

    script: str
    """The Lua source of the guarded write that :meth:`calls` calls; it returns the outcomes it counted:
    written, stale, expired, deleted."""

    def calls(self, batch: pa.RecordBatch) -> Iterator[Buffers]:
        """The batch as calls of the script, each a list of buffers; columns as :class:`RowSchema` orders them."""
        ...


ENCODERS = {"hash": HashEncoder}


def encoder(view: FeatureView, schema: RowSchema) -> Encoder:
    """The encoder for the view's layout."""
    return ENCODERS[view.layout](view, schema)
