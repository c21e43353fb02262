"""A producer's columns: Arrow arrays or lists of Python values."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as kinds

from online_features.errors import InvalidRowsError
from online_features.schema import Column, Encoding
from online_features.types.codec import is_null

Values: TypeAlias = "pa.Array | list[Any]"
"""A column: an Arrow array, or Python values in which ``None`` is NULL."""


def is_present(given: Values) -> pa.BooleanArray:
    """Tell which rows have a value; NaN counts as NULL."""
    if not isinstance(given, pa.Array):
        return pa.array([not is_null(value) for value in given], pa.bool_())
    if kinds.is_floating(given.type):
        return pc.invert(pc.is_nan(given)).fill_null(fill_value=False)
    return given.is_valid()


def python_values(column: Column, given: Values) -> list[Any]:
    """Return the values as Python objects.

    :raises InvalidRowsError: when Python cannot represent one.
    """
    if not isinstance(given, pa.Array):
        return given
    try:
        plain: list[Any] = given.to_pylist(maps_as_pydicts="strict")
        if isinstance(given.type, pa.JsonType) and column.encoding == Encoding.JSON:
            plain = [None if text is None else json.loads(text, parse_float=Decimal) for text in plain]
    except (OverflowError, ValueError, KeyError) as error:
        raise InvalidRowsError(
            f"column {column.name!r} holds a value that is not of type {column.type}: {error}"
        ) from error
    return plain
