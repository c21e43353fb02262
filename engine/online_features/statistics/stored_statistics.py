"""The statistics of a view as one value of Redis: a compressed JSON array, which ``docs/keyspace.md`` describes.

It is text, because a client of redis-py may decode all replies.
"""

from __future__ import annotations

import json
import math
import zlib
from base64 import b64decode, b64encode
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime
from typing import Any, TypeVar

from online_features.common.instants import MICROSECOND, from_microseconds, to_microseconds
from online_features.errors import OnlineDataError
from online_features.schema import Encoding
from online_features.statistics.view_statistics import (
    PERCENTS,
    CommonValue,
    FeatureStatistics,
    Histogram,
    Value,
    ViewStatistics,
)
from online_features.types import values
from online_features.types.registry import typed_column

T = TypeVar("T")

DAMAGE = (*values.DAMAGE, zlib.error)

# What makes a value of a number, by the encoding of the feature; those of other encodings are numbers.
FROM_COUNT: dict[Encoding, Callable[[int], Value]] = {
    Encoding.DATE: lambda days: date.fromordinal(days + 1),
    Encoding.TIMESTAMP: lambda count: datetime.min + count * MICROSECOND,
    Encoding.INSTANT: lambda count: from_microseconds([count])[0],
}


def encode(statistics: ViewStatistics) -> str:
    """Return the value to store."""
    features = [_packed(name, feature, statistics.sampled) for name, feature in statistics.features.items()]
    text = json.dumps([statistics.rows, statistics.sampled, features], ensure_ascii=False, separators=(",", ":"))
    return b64encode(zlib.compress(text.encode())).decode()


def decode(stored: str | bytes, key: str) -> ViewStatistics:
    """Read a stored value.

    :param key: at which it is stored, for messages.
    :raises OnlineDataError: when :func:`encode` has not written it.
    """
    try:
        rows, sampled, features = json.loads(zlib.decompress(b64decode(stored, validate=True)))
        return ViewStatistics(
            rows=_count(rows),
            sampled=_count(sampled),
            features=dict(_unpacked(feature, rows, sampled) for feature in features),
        )
    except DAMAGE as error:
        raise OnlineDataError(
            f"{key!r} in Redis is damaged ({error}) -> delete it; the next full run measures again"
        ) from error


def _packed(name: str, feature: FeatureStatistics, sampled: int) -> list[Any]:
    histogram, quantiles = feature.histogram, feature.quantiles
    return [
        name,
        feature.type,
        feature.nulls,
        feature.zeros,
        feature.not_finite,
        _as_count(feature.minimum),
        _as_count(feature.maximum),
        feature.mean,
        feature.deviation,
        [_as_count(quantiles[percent]) for percent in PERCENTS] if quantiles else None,
        [_as_count(histogram.least), _as_count(histogram.greatest), list(histogram.counts)] if histogram else None,
        None if feature.commonest is None else [_pair(common, sampled) for common in feature.commonest],
    ]


def _pair(common: CommonValue, sampled: int) -> list[Any]:
    return [common.value, round(common.share * sampled)]


def _as_count(value: Value | None) -> int | float | None:
    """Return a number as it is, and a time as days or microseconds since the beginning of the year 1."""
    match value:
        case datetime(tzinfo=None):
            return to_microseconds(value.replace(tzinfo=UTC))
        case datetime():
            return to_microseconds(value)
        case date():
            return value.toordinal() - 1
    return value


def _unpacked(stored: Sequence[Any], rows: int, sampled: int) -> tuple[str, FeatureStatistics]:
    name, type_name, nulls, zeros, not_finite, least, greatest, mean, deviation, quantiles, histogram, common = stored
    value = _reader(_text(type_name))
    return _text(name), FeatureStatistics(
        type=type_name,
        rows=rows,
        nulls=_count(nulls),
        zeros=_optional(_count, zeros),
        not_finite=_optional(_count, not_finite),
        minimum=_optional(value, least),
        maximum=_optional(value, greatest),
        mean=_optional(_number, mean),
        deviation=_optional(_number, deviation),
        quantiles=None if quantiles is None else dict(zip(PERCENTS, map(value, quantiles), strict=True)),
        histogram=None if histogram is None else _histogram(value, *histogram),
        commonest=None if common is None else tuple(_common(pair, sampled) for pair in common),
    )


def _reader(type_name: str) -> Callable[[Any], Value]:
    """Return what reads values of a type."""
    from_count = FROM_COUNT.get(typed_column("", type_name).encoding)
    return _number if from_count is None else lambda count: from_count(_count(count))


def _histogram(value: Callable[[Any], Value], least: Any, greatest: Any, counts: Any) -> Histogram:
    return Histogram(value(least), value(greatest), tuple(map(_count, counts)))


def _common(stored: Sequence[Any], sampled: int) -> CommonValue:
    value, count = stored
    return CommonValue(value if type(value) is bool else _text(value), _count(count) / sampled)


def _optional(read: Callable[[Any], T], value: Any) -> T | None:
    return None if value is None else read(value)


def _count(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise ValueError(f"{value!r} is not a count")
    return value


def _number(value: Any) -> int | float:
    if type(value) not in (int, float) or not math.isfinite(value):
        raise ValueError(f"{value!r} is not a number")
    return value  # type: ignore[no-any-return]


def _text(value: Any) -> str:
    if type(value) is not str:
        raise TypeError(f"{value!r} is not a text")
    return value
