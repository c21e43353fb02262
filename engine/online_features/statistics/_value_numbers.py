"""Values of statistics as numbers of JSON: times as days or microseconds since the beginning of the year 1."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, date, datetime
from typing import Any

from online_features.common.instants import MICROSECOND, from_microseconds, to_microseconds
from online_features.schema import Encoding
from online_features.statistics.view_statistics import Value

# What makes a value of a number, by the encoding of the feature; those of other encodings are numbers.
FROM_COUNT: dict[Encoding, Callable[[int], Value]] = {
    Encoding.DATE: lambda days: date.fromordinal(days + 1),
    Encoding.TIMESTAMP: lambda count: datetime.min + count * MICROSECOND,
    Encoding.INSTANT: lambda count: from_microseconds([count])[0],
}


def number_of(value: Value | None) -> int | float | None:
    """Return a number as it is, and a time as days or microseconds."""
    match value:
        case datetime(tzinfo=None):
            return to_microseconds(value.replace(tzinfo=UTC))
        case datetime():
            return to_microseconds(value)
        case date():
            return value.toordinal() - 1
    return value


def value_reader(encoding: Encoding) -> Callable[[Any], Value]:
    """Return what reads values of features with an encoding; it raises a ValueError for anything else."""
    from_count = FROM_COUNT.get(encoding)
    return number if from_count is None else lambda stored: from_count(count(stored))


def count(stored: Any) -> int:
    """Return a count.

    :raises ValueError: when it is not one.
    """
    if type(stored) is not int or stored < 0:
        raise ValueError(f"{stored!r} is not a count")
    return stored


def number(stored: Any) -> int | float:
    """Return a number that is finite.

    :raises ValueError: when it is not one.
    """
    if type(stored) not in (int, float) or not math.isfinite(stored):
        raise ValueError(f"{stored!r} is not a number")
    return stored  # type: ignore[no-any-return]
