"""The statistics of a view as one value of Redis: a compressed JSON array, which ``docs/keyspace.md`` describes.

It is text, because a client of redis-py may decode all replies.
"""

from __future__ import annotations

import json
import zlib
from base64 import b64decode, b64encode
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from online_features.errors import OnlineDataError
from online_features.statistics._value_numbers import count, number, number_of, value_reader
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
            rows=count(rows),
            sampled=count(sampled),
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
        number_of(feature.minimum),
        number_of(feature.maximum),
        feature.mean,
        feature.deviation,
        [number_of(quantiles[percent]) for percent in PERCENTS] if quantiles else None,
        [number_of(histogram.least), number_of(histogram.greatest), list(histogram.counts)] if histogram else None,
        None if feature.commonest is None else [_pair(common, sampled) for common in feature.commonest],
    ]


def _pair(common: CommonValue, sampled: int) -> list[Any]:
    return [common.value, round(common.share * sampled)]


def _unpacked(stored: Sequence[Any], rows: int, sampled: int) -> tuple[str, FeatureStatistics]:
    name, type_name, nulls, zeros, not_finite, least, greatest, mean, deviation, quantiles, histogram, common = stored
    value = value_reader(typed_column("", _text(type_name)).encoding)
    return _text(name), FeatureStatistics(
        type=type_name,
        rows=rows,
        nulls=count(nulls),
        zeros=_optional(count, zeros),
        not_finite=_optional(count, not_finite),
        minimum=_optional(value, least),
        maximum=_optional(value, greatest),
        mean=_optional(number, mean),
        deviation=_optional(number, deviation),
        quantiles=None if quantiles is None else dict(zip(PERCENTS, map(value, quantiles), strict=True)),
        histogram=None if histogram is None else _histogram(value, *histogram),
        commonest=None if common is None else tuple(_common(pair, sampled) for pair in common),
    )


def _histogram(value: Callable[[Any], Value], least: Any, greatest: Any, counts: Any) -> Histogram:
    return Histogram(value(least), value(greatest), tuple(map(count, counts)))


def _common(stored: Sequence[Any], sampled: int) -> CommonValue:
    value, times = stored
    return CommonValue(value if type(value) is bool else _text(value), count(times) / sampled)


def _optional(read: Callable[[Any], T], value: Any) -> T | None:
    return None if value is None else read(value)


def _text(value: Any) -> str:
    if type(value) is not str:
        raise TypeError(f"{value!r} is not a text")
    return value
