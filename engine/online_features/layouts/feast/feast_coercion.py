"""Convert a producer's columns to the Arrow types that the encoder of a view's layout expects."""

from __future__ import annotations

from base64 import b64decode
from dataclasses import replace
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from online_features.errors import InvalidRowsError
from online_features.feature_view import FeatureView
from online_features.layouts.feast.feast_columns import FEATURE, feast_column
from online_features.layouts.feast.feast_types import INTEGERS, FeastType
from online_features.schema import ARRAY_SUFFIX, UNKNOWN, Column, Encoding
from online_features.types import values
from online_features.types.arrow.coercion import coerced, inferred
from online_features.types.arrow.instants import UTC_MICROSECONDS
from online_features.types.arrow.texts import texts
from online_features.types.arrow.values import Values, python_values
from online_features.types.registry import codec_of, element_of, typed_column

# The Postgres type of a column that FeastOptions name, when the source's types are not known yet.
_NAMED_IN_FEAST = {
    FeastType.BOOL: "boolean", FeastType.INT32: "integer", FeastType.INT64: "bigint", FeastType.FLOAT32: "real",
    FeastType.FLOAT64: "double precision", FeastType.BYTES: "bytea", FeastType.PDF_BYTES: "bytea",
    FeastType.IMAGE_BYTES: "bytea", FeastType.UNIX_TIMESTAMP: "timestamp with time zone", FeastType.UUID: "uuid",
    FeastType.TIME_UUID: "uuid", FeastType.DECIMAL: "numeric",
}  # fmt: skip

_FEAST_ARROW_TYPES = {
    FeastType.BOOL: pa.bool_(), FeastType.INT32: pa.int32(), FeastType.INT64: pa.int64(),
    FeastType.FLOAT32: pa.float32(), FeastType.FLOAT64: pa.float64(), FeastType.BYTES: pa.binary(),
    FeastType.PDF_BYTES: pa.binary(), FeastType.IMAGE_BYTES: pa.binary(), FeastType.UNIX_TIMESTAMP: pa.timestamp("us"),
}  # fmt: skip


def inferred_feature(view: FeatureView, name: str, given: Values) -> Column:
    """Return a feature's column, when the source's types are not known yet: by FeastOptions, or by its values.

    :raises InvalidRowsError: when Postgres has no type for the values.
    :raises UnsupportedTypeError: when the view's layout is ``feast``, and Feast has no type for them.
    """
    return _named_in_feast(view, name) or feast_column(view, FEATURE, inferred(name, given))


def coerced_for_layout(column: Column, given: Values, *, is_key: bool = False) -> pa.Array:
    """Convert the values to what the encoder of the view's layout expects.

    They are coerced to the column's own type first, so that the same values are refused in every layout.

    :raises InvalidRowsError: when one does not fit, naming the column.
    """
    if column.type == UNKNOWN:
        return pa.nulls(len(given), pa.string())
    if column.feast is not None and column.feast.is_list:
        return _lists(column, list(map(codec_of(column).fitted, python_values(column, given))))
    own = coerced(column, given, is_key=is_key)
    if column.feast is not None:
        return as_encoded(column, own)
    return texts(own) if is_key else own


def as_encoded(column: Column, own: pa.Array) -> pa.Array:
    """Convert values to the Arrow type that the encoder of layout ``feast`` expects; leave other layouts' unchanged.

    :param own: values as :func:`~online_features.types.arrow.coercion.coerced` returns them, or their texts.
    :raises InvalidRowsError: when one does not fit Feast's type, naming the column.
    """
    if column.feast is None:
        return own
    try:
        if column.feast.is_list:
            return _lists(column, [None if text is None else values.decode(column, text) for text in own.to_pylist()])
        return _scalars(column, column.feast, own)
    except (pa.ArrowInvalid, OverflowError, ValueError) as error:
        raise InvalidRowsError(
            f"column {column.name!r} holds a value that is not of Feast's type {column.feast}: {error}"
        ) from error


def _named_in_feast(view: FeatureView, name: str) -> Column | None:
    if name not in view.feast.types:
        return None
    kind = FeastType(view.feast.types[name])
    element = _NAMED_IN_FEAST.get(kind.element, "text")
    return replace(typed_column(name, f"{element}{ARRAY_SUFFIX}" if kind.is_list else element), feast=kind)


def _scalars(column: Column, kind: FeastType, own: pa.Array) -> pa.Array:
    target = _FEAST_ARROW_TYPES.get(kind, pa.string())
    match column.encoding:
        case Encoding.BASE64 if pa.types.is_string(own.type):
            return pa.array([None if text is None else b64decode(text) for text in own.to_pylist()], target)
        case Encoding.INSTANT:
            return own.cast(UTC_MICROSECONDS).cast(target)
        case Encoding.NUMERIC if kind in INTEGERS:
            return pa.array([None if text is None else int(Decimal(text)) for text in own.to_pylist()], target)
        case Encoding.FLOAT if kind in INTEGERS:
            return pc.if_else(pc.is_nan(own), None, pc.trunc(own)).cast(target)
    # A cast to floats may round, as in Postgres.
    return own.cast(target, safe=not pa.types.is_floating(target))


def _lists(column: Column, lists: list[Any]) -> pa.ListArray:
    for value in lists:
        if value is not None:
            values.check(column, value)
            if any(isinstance(item, (list, tuple)) for item in value):
                raise values.misfit(column, value)
    flat = coerced_for_layout(element_of(column), [item for value in lists for item in value or ()])
    offsets = np.concatenate(([0], np.cumsum([len(value or ()) for value in lists]))).astype(np.int32)
    mask = pa.array([value is None for value in lists], pa.bool_())
    return pa.ListArray.from_arrays(pa.array(offsets), flat, mask=mask)
