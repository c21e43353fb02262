"""Values of a feature compared, with the tolerance of their type."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from decimal import Decimal
from operator import sub
from typing import Any

from online_features.schema import ARRAY_SUFFIX, Column, Encoding

# Relative: one unit in the last place of the type, since a number may have been rounded to it twice.
TOLERANCES = {"real": 2.0**-23, "double precision": 2.0**-52}

NUMBERS = (int, float, Decimal)


def mismatches(
    columns: Sequence[Column], offline: Mapping[str, Any], online: Mapping[str, Any]
) -> dict[str, float | None]:
    """Return the features whose values differ, with the distance of those that are finite numbers."""
    found = {}
    for column in columns:
        theirs, ours = offline[column.name], online[column.name]
        # Most features of a row that differs are equal; the first comparison finds that out quickly.
        if theirs != ours and not _is_same(theirs, ours, _tolerance(column)):
            found[column.name] = _distance(theirs, ours)
    return found


def _tolerance(column: Column) -> float:
    if column.encoding == Encoding.VECTOR:
        return TOLERANCES["real"]
    return TOLERANCES.get(column.type.removesuffix(ARRAY_SUFFIX), 0.0)


def _is_same(one: Any, other: Any, tolerance: float) -> bool:
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(
            _is_same(*pair, tolerance) for pair in zip(one, other, strict=True)
        )  # fmt: skip
    if _is_nan(one) or _is_nan(other):
        return _is_nan(one) and _is_nan(other)
    if isinstance(one, float) and isinstance(other, float):
        return one == other or math.isclose(one, other, rel_tol=tolerance)
    return bool(one == other)


def _is_nan(value: Any) -> bool:
    return isinstance(value, (float, Decimal)) and math.isnan(value)


def _distance(one: Any, other: Any) -> float | None:
    """Return how far two numbers are apart, or the farthest pair of two lists; ``None`` if that is not finite."""
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        distances = map(_distance, one, other)
        return max((distance for distance in distances if distance is not None), default=None)
    if not (isinstance(one, NUMBERS) and isinstance(other, NUMBERS)) or isinstance(one, bool):
        return None
    try:
        distance = float(abs(sub(one, other)))
    except (ArithmeticError, TypeError):  # too large for a float; a decimal beside a float, or one that is not finite
        return None
    return distance if math.isfinite(distance) else None
