"""Columns that a producer gives, as Arrow columns of the types that Feast's are encoded from."""

from __future__ import annotations

import base64
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from online_features.errors import InvalidRowsError
from online_features.feature_view import FeatureView
from online_features.layouts.feast.feast_columns import FEATURE, feast_column
from online_features.layouts.feast.feast_types import FeastType
from online_features.producers.given_rows import Values
from online_features.schema import UNKNOWN, Column
from online_features.types import values
from online_features.types.coercion import coerced, inferred
from online_features.types.postgres_types import ARRAY_SUFFIX, ENCODING_BY_TYPE, Encoding

INTEGERS = (FeastType.INT32, FeastType.INT64)

# What a column that is named in FeastOptions holds, when nothing is known of the source yet.
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
    """A feature's column, when nothing is known of the source yet: as the view names it, else for values like these.

    :raises InvalidRowsError: when they are of no type that Postgres has.
    :raises UnsupportedTypeError: when they are of none that Feast has, in its layout.
    """
    return _named_in_feast(view, name) or feast_column(view, FEATURE, inferred(name, given))


def coerced_for_layout(column: Column, given: Values, *, is_key: bool = False) -> pa.Array:
    """The values as a materialization would hand them to the encoder of the view's layout.

    They are coerced to the column's own type first, so that the same values are refused in every layout.

    :raises InvalidRowsError: when one does not fit, naming the column.
    """
    if column.type == UNKNOWN:
        return pa.nulls(len(given), pa.string())
    return as_encoded(column, coerced(column, given, is_key=is_key))


def as_encoded(column: Column, values_in_text: pa.Array) -> pa.Array:
    """The values, as :func:`coerced` has them, in the Arrow type that the column is encoded from.

    :raises InvalidRowsError: when one does not fit Feast's type, naming the column.
    """
    if column.feast is None:
        return values_in_text
    try:
        if column.feast.is_list:
            return _lists(column, values_in_text)
        return _scalars(column, column.feast, values_in_text)
    except (pa.ArrowInvalid, OverflowError, ValueError) as error:
        raise InvalidRowsError(f"column {column.name!r} holds a value that is no {column.feast}: {error}") from error


def _named_in_feast(view: FeatureView, name: str) -> Column | None:
    if name not in view.feast.types:
        return None
    kind = FeastType(view.feast.types[name])
    element = _NAMED_IN_FEAST.get(kind.element, "text")
    type_name = f"{element}{ARRAY_SUFFIX}" if kind.is_list else element
    encoding = Encoding.JSON if kind.is_list else ENCODING_BY_TYPE.get(type_name, Encoding.TEXT)
    return Column(name, type_name, encoding, kind)


def _scalars(column: Column, kind: FeastType, plain: pa.Array) -> pa.Array:
    target = _FEAST_ARROW_TYPES.get(kind, pa.string())
    match column.encoding:
        case Encoding.BASE64:
            decoded = (None if text is None else base64.b64decode(text) for text in plain.to_pylist())
            return pa.array(decoded, pa.binary())
        case Encoding.INSTANT if kind == FeastType.UNIX_TIMESTAMP:
            return plain.cast(pa.timestamp("us", "UTC")).cast(target)
        case Encoding.NUMERIC if kind in INTEGERS:
            return pa.array((None if text is None else int(Decimal(text)) for text in plain.to_pylist()), target)
        case Encoding.FLOAT if kind in INTEGERS:
            return pc.if_else(pc.is_nan(plain), None, pc.trunc(plain)).cast(target)
    # Into floating numbers all others are rounded, as Postgres rounds them.
    return plain.cast(target, safe=not pa.types.is_floating(target))


def _lists(column: Column, texts: pa.StringArray) -> pa.ListArray:
    lists = [None if text is None else values.decode(column, text) for text in texts.to_pylist()]
    for value in lists:
        if any(isinstance(item, list) for item in value or ()):
            raise values.misfit(column, value)
    flat = coerced_for_layout(column.element, [item for value in lists for item in value or ()])
    offsets = np.concatenate(([0], np.cumsum([len(value or ()) for value in lists]))).astype(np.int32)
    mask = pa.array([value is None for value in lists], pa.bool_())
    return pa.ListArray.from_arrays(pa.array(offsets), flat, mask=mask)
