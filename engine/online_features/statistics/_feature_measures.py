"""Measures of one feature, by its type: exact ones of each batch, the others of the sample at the end."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC
from itertools import accumulate
from typing import Any, ClassVar, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as kinds

from online_features.schema import Column, Encoding
from online_features.statistics._value_numbers import count, number_of, value_reader
from online_features.statistics.view_statistics import PERCENTS, CommonValue, FeatureStatistics, Histogram
from online_features.types.arrow.messagepack import ARROW_TIMES, times_of_texts
from online_features.types.shortest import shortest

BINS = 20  # of a histogram: enough to see a shape
COMMONEST = 10
UNIQUE = frozenset({"uuid"})  # types of texts of which none is common
DIGITS = 7  # significant ones of a quantile
TEXT_BYTES = 128  # of the commonest texts together, so that the statistics of 200 features fit into 64 KiB


class FeatureMeasure:
    """Counts NULLs, which is all that some types allow."""

    is_sampled: ClassVar[bool] = False
    counters: ClassVar[tuple[str, ...]] = ("_nulls",)

    def __init__(self, column: Column) -> None:
        self._column = column
        self._nulls = 0

    def prepared(self, given: pa.Array) -> pa.Array:
        """Return the values of a batch in the Arrow type to measure.

        :param given: in their own Arrow type, or as the texts that Postgres has made of them.
        """
        return given

    def add(self, values: pa.Array) -> None:
        """Measure prepared values, all of them."""
        self._nulls += values.null_count

    def merge(self, other: Self) -> None:
        """Add what another measure of the feature has measured."""
        self._nulls += other._nulls

    def numbers(self) -> list[Any]:
        """Return what was measured exactly, as JSON-serializable values."""
        return [getattr(self, name) for name in self.counters]

    def restore(self, numbers: Sequence[Any]) -> None:
        """Take over what :meth:`numbers` of another measure has returned.

        :raises ValueError: when it has not; or a TypeError.
        """
        for name, number in zip(self.counters, numbers, strict=True):
            setattr(self, name, count(number))

    def statistics(self, rows: int, sample: pa.Array | None) -> FeatureStatistics:
        """Return the statistics.

        :param rows: that were measured.
        :param sample: prepared values; ``None`` where nothing is sampled, or before the first batch.
        """
        exact = FeatureStatistics(type=self._column.type, rows=rows, nulls=self._nulls, **self._exact())
        return exact if sample is None else replace(exact, **self._sketch(sample))

    def _exact(self) -> dict[str, Any]:
        return {}

    def _sketch(self, sample: pa.Array) -> dict[str, Any]:  # noqa: ARG002
        return {}


class TextMeasure(FeatureMeasure):
    """Texts and enums: the commonest values."""

    is_sampled = True

    def _sketch(self, sample: pa.Array) -> dict[str, Any]:
        commonest = _commonest(sample)
        ends = accumulate(len(str(common.value).encode()) for common in commonest)
        return {"commonest": tuple(common for common, end in zip(commonest, ends, strict=True) if end <= TEXT_BYTES)}


class BooleanMeasure(FeatureMeasure):
    """Booleans, as numbers 0 and 1."""

    is_sampled = True
    counters: ClassVar[tuple[str, ...]] = ("_nulls", "_values", "_trues")

    def __init__(self, column: Column) -> None:
        super().__init__(column)
        self._values = 0
        self._trues = 0

    def add(self, values: pa.Array) -> None:
        super().add(values)
        self._values += len(values) - values.null_count
        self._trues += pc.sum(values).as_py() or 0

    def merge(self, other: Self) -> None:
        super().merge(other)
        self._values += other._values
        self._trues += other._trues

    def _exact(self) -> dict[str, Any]:
        moments = Moments()
        if self._values:
            mean = self._trues / self._values
            moments.add(self._values, mean, self._values * mean * (1 - mean))
        return {"zeros": self._values - self._trues, **moments.fields()}

    def _sketch(self, sample: pa.Array) -> dict[str, Any]:
        return {"commonest": _commonest(sample)}


class OrderedMeasure(FeatureMeasure):
    """Values in an order: extremes, quantiles, a histogram."""

    is_sampled = True
    counters: ClassVar[tuple[str, ...]] = ("_nulls", "_not_finite")

    def __init__(self, column: Column) -> None:
        super().__init__(column)
        self._not_finite = 0
        self._extremes: list[Any] = []

    def add(self, values: pa.Array) -> None:
        super().add(values)
        extremes = pc.min_max(values)
        found = self._python([extremes["min"].as_py(), extremes["max"].as_py()])
        self._extend(value for value in found if value is not None)

    def merge(self, other: Self) -> None:
        super().merge(other)
        self._not_finite += other._not_finite
        self._extend(other._extremes)

    def numbers(self) -> list[Any]:
        return [*super().numbers(), [*map(number_of, self._extremes)]]

    def restore(self, numbers: Sequence[Any]) -> None:
        *counts, extremes = numbers
        super().restore(counts)
        self._extend(map(value_reader(self._column.encoding), extremes))

    def _extend(self, extremes: Iterable[Any]) -> None:
        known = [*self._extremes, *extremes]
        self._extremes = [min(known), max(known)] if known else []

    def _python(self, values: list[Any]) -> list[Any]:
        """Return values of the Arrow type as they are in Python."""
        return values

    def _exact(self) -> dict[str, Any]:
        least, greatest = self._extremes or (None, None)
        return {"not_finite": self._not_finite, "minimum": least, "maximum": greatest}

    def _sketch(self, sample: pa.Array) -> dict[str, Any]:
        present = _finite(sample).drop_null()
        if not len(present):
            return {}
        ordered = np.sort(_numbers(present))
        places = [max(math.ceil(percent * len(ordered) / 100) - 1, 0) for percent in PERCENTS]
        picked = pa.array(ordered[[0, *places, -1]]).cast(present.type).to_pylist()
        least, *quantiles, greatest = map(_rounded, self._python(picked))
        counts = _bin_counts(ordered)
        return {
            "quantiles": dict(zip(PERCENTS, quantiles, strict=True)),
            "histogram": Histogram(least, greatest, counts) if counts else None,
        }


class NumberMeasure(OrderedMeasure):
    """Numbers; those that Postgres prints, such as ``numeric``, as floats."""

    counters: ClassVar[tuple[str, ...]] = ("_nulls", "_not_finite", "_zeros")

    def __init__(self, column: Column) -> None:
        super().__init__(column)
        self._zeros = 0
        self._moments = Moments()
        self._is_single = False

    def prepared(self, given: pa.Array) -> pa.Array:
        return given.cast(pa.float64()) if kinds.is_string(given.type) else given

    def add(self, values: pa.Array) -> None:
        self._is_single = kinds.is_float32(values.type)
        finite = _finite(values)
        super().add(finite)
        left_out = len(values) - len(finite)
        self._not_finite += left_out
        self._zeros += pc.sum(pc.equal(finite, 0)).as_py() or 0
        count = len(finite) - finite.null_count
        if count:
            # As floats: the sum of a few thousand large integers exceeds 64 bits.
            floats = finite.cast(pa.float64(), safe=False)
            self._moments.add(count, pc.mean(floats).as_py(), pc.variance(floats).as_py() * count)

    def merge(self, other: Self) -> None:
        super().merge(other)
        self._zeros += other._zeros
        self._moments.merge(other._moments)
        self._is_single = self._is_single or other._is_single

    def numbers(self) -> list[Any]:
        return [*super().numbers(), self._is_single, self._moments.numbers()]

    def restore(self, numbers: Sequence[Any]) -> None:
        *others, is_single, moments = numbers
        self._is_single = bool(is_single)
        super().restore(others)
        if moments[0]:
            self._moments.add(*moments)

    def _python(self, values: list[Any]) -> list[Any]:
        return [value if value is None else shortest(value) for value in values] if self._is_single else values

    def _exact(self) -> dict[str, Any]:
        return {"zeros": self._zeros, **super()._exact(), **self._moments.fields()}


class TimeMeasure(OrderedMeasure):
    """Dates and timestamps."""

    def prepared(self, given: pa.Array) -> pa.Array:
        if not kinds.is_string(given.type):
            return given.cast(ARROW_TIMES[self._column.encoding])
        times, others = times_of_texts(self._column, given)
        if others is not None:
            self._not_finite += len(others) - others.null_count
            self._nulls -= len(others) - others.null_count  # they are NULL among the times
        return times

    def _python(self, values: list[Any]) -> list[Any]:
        if self._column.encoding != Encoding.INSTANT:
            return values
        return [value if value is None else value.replace(tzinfo=UTC) for value in values]


class Moments:
    """Mean and variance of values that come in batches.

    :ivar count: of the values so far.
    :ivar mean: of them.
    """

    def __init__(self) -> None:
        self.count = 0
        self.mean = 0.0
        self._squares = 0.0  # sum of squared distances from the mean

    def add(self, count: int, mean: float, squares: float) -> None:
        """Add a batch by the formula of Chan, Golub and LeVeque, which is stable where values are far from zero.

        :param count: at least one.
        :param squares: sum of squared distances from the mean of the batch.
        """
        total = self.count + count
        distance = mean - self.mean
        self.mean += distance * (count / total)
        self._squares += squares + distance * distance * (self.count * count / total)
        self.count = total

    def merge(self, other: Moments) -> None:
        """Add the values of another one."""
        if other.count:
            self.add(other.count, other.mean, other._squares)

    def numbers(self) -> list[Any]:
        """Return the arguments with which :meth:`add` makes the same of nothing."""
        return [self.count, self.mean, self._squares]

    def fields(self) -> dict[str, float | None]:
        """Return mean and standard deviation; ``None`` where there are too few values, or floats would overflow."""
        is_known = self.count > 0 and math.isfinite(self.mean)
        variance = self._squares / (self.count - 1) if self.count > 1 else math.nan
        return {
            "mean": self.mean if is_known else None,
            "deviation": math.sqrt(variance) if math.isfinite(variance) else None,
        }


MEASURES: dict[Encoding, type[FeatureMeasure]] = {
    Encoding.BOOLEAN: BooleanMeasure,
    Encoding.INTEGER: NumberMeasure,
    Encoding.FLOAT: NumberMeasure,
    Encoding.NUMERIC: NumberMeasure,
    Encoding.DATE: TimeMeasure,
    Encoding.TIMESTAMP: TimeMeasure,
    Encoding.INSTANT: TimeMeasure,
    Encoding.TEXT: TextMeasure,
}


def measure_of(column: Column) -> FeatureMeasure:
    """Return the measure for a feature's type."""
    kind = MEASURES.get(column.encoding, FeatureMeasure)
    return kind(column) if column.type not in UNIQUE else FeatureMeasure(column)


def _finite(values: pa.Array) -> pa.Array:
    """Return the values without NaN and infinite numbers."""
    if not kinds.is_floating(values.type):
        return values
    is_finite = pc.is_finite(values)
    if pc.all(is_finite).as_py() is not False:
        return values
    return values.filter(is_finite.fill_null(fill_value=True))  # a NULL stays


def _numbers(values: pa.Array) -> np.ndarray:
    """Return the numbers, the days of dates, or the microseconds of timestamps."""
    if kinds.is_date(values.type):
        values = values.cast(pa.int32())
    elif kinds.is_timestamp(values.type):
        values = values.cast(pa.int64())
    return values.to_numpy()  # type: ignore[no-any-return]


def _rounded(value: Any) -> Any:
    """Round a float of the sample: it says no more of all rows, and short ones take less room."""
    return float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value


def _bin_counts(ordered: np.ndarray) -> tuple[int, ...]:
    """Return how many values fall into each bin; nothing if the values are too far apart for floats."""
    least, greatest = float(ordered[0]), float(ordered[-1])
    width = greatest - least
    if width == 0:
        return (len(ordered),)
    if not math.isfinite(width):
        return ()
    edges = [least + width * i / BINS for i in range(1, BINS)]
    cuts = np.searchsorted(ordered, edges)
    return tuple(np.diff([0, *cuts, len(ordered)]).tolist())


def _commonest(sample: pa.Array) -> tuple[CommonValue, ...]:
    """Return the commonest values, the commonest first; of equally common ones, the least first."""
    if sample.null_count == len(sample):
        return ()  # PyArrow before 21 cannot select from no rows
    counted = pc.value_counts(sample.drop_null())
    table = pa.table({"value": counted.field("values"), "count": counted.field("counts")})
    order = [("count", "descending"), ("value", "ascending")]
    few = table.take(pc.select_k_unstable(table, COMMONEST, order)).to_pylist()
    return tuple(CommonValue(row["value"], row["count"] / len(sample)) for row in few)
