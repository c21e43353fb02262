"""Encoders by the name of their layout."""

from __future__ import annotations

from collections.abc import Iterable

from online_features.feature_view import FeatureView
from online_features.layouts.encoder import Encoder
from online_features.layouts.feast.feast_encoder import FeastEncoder
from online_features.layouts.hash.hash_encoder import HashEncoder
from online_features.layouts.hash.packing import Packing
from online_features.layouts.json.json_encoder import JsonEncoder
from online_features.schema import RowSchema

ENCODERS: dict[str, type[Encoder]] = {"hash": HashEncoder, "json": JsonEncoder, "feast": FeastEncoder}


def encoder(
    view: FeatureView,
    schema: RowSchema,
    features: Iterable[str] = (),
    version: str | None = None,
    packing: Packing | None = None,
    *,
    in_cluster: bool = False,
) -> Encoder:
    """The encoder for the view's layout; see :class:`~online_features.layouts.encoding.Encoder`."""
    return ENCODERS[view.layout](view, schema, features, version, packing, in_cluster=in_cluster)
