"""Statistics of the rows of a view, and of each feature; reading them needs no Arrow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, time
from typing import TYPE_CHECKING, Any, TypeAlias

from online_features.extras import needs_materialize

if TYPE_CHECKING:
    import pandas

Value: TypeAlias = int | float | date | datetime
"""A number, or a time: a ``date`` of a date, else a ``datetime``, aware where the type has a time zone."""

PERCENTS = (1, 5, 25, 50, 75, 95, 99)  # of the quantiles


@dataclass(frozen=True)
class Histogram:
    """How many values of the sample fall into each of some bins of equal width.

    :param least: the least value of the sample, where the first bin begins.
    :param greatest: the greatest one, where the last bin ends.
    :param counts: values in each bin; a bin holds its lower edge, the last one also its upper.
    """

    least: Value
    greatest: Value
    counts: tuple[int, ...]

    @property
    def edges(self) -> tuple[int | float | datetime, ...]:
        """The edges of the bins, one more than there are bins; of dates, their midnights."""
        low: Any = _with_time(self.least)
        high: Any = _with_time(self.greatest)
        bins = len(self.counts)
        return (low, *(low + (high - low) * i / bins for i in range(1, bins)), high)


@dataclass(frozen=True)
class CommonValue:
    """A value that is common in the sample.

    :param value: a text is shortened to its first 32 characters.
    :param share: of the rows in the sample that have it, NULLs included among the rows.
    """

    value: str | bool
    share: float


@dataclass(frozen=True, kw_only=True)
class FeatureStatistics:
    """Statistics of one feature; ``None`` where its type has no such thing, or no value was there.

    Counts, minimum, maximum, mean and standard deviation are of all rows, everything else is of the sample. Arrays,
    JSON and other types that have no order or no few values have counts of rows and NULLs only.

    :param type: Postgres type, as in the schema.
    :param rows: that were measured.
    :param nulls: rows without a value.
    :param zeros: rows with 0 or ``false``; of numbers and booleans.
    :param not_finite: rows with NaN or an infinite number, or with a time that is infinite or outside the years 1 to
        9999; of numbers and times. Everything below leaves them out.
    :param minimum: of numbers and times.
    :param maximum: of numbers and times.
    :param mean: of numbers; of booleans, the share of ``true`` among the values.
    :param deviation: standard deviation of numbers and booleans, as ``stddev`` of Postgres computes it.
    :param quantiles: percent to a value that as many percent of the values do not exceed; of numbers and times. A float
        has seven digits.
    :param histogram: of numbers and times.
    :param commonest: the ten commonest values at most, the commonest first; of texts, enums and booleans.
    """

    type: str
    rows: int
    nulls: int
    zeros: int | None = None
    not_finite: int | None = None
    minimum: Value | None = None
    maximum: Value | None = None
    mean: float | None = None
    deviation: float | None = None
    quantiles: Mapping[int, Value] | None = None
    histogram: Histogram | None = None
    commonest: tuple[CommonValue, ...] | None = None

    @property
    def null_share(self) -> float:
        """Share of rows without a value, from 0 to 1; 0 without rows."""
        return self.nulls / self.rows if self.rows else 0.0


@dataclass(frozen=True, kw_only=True)
class ViewStatistics:
    """Statistics of the rows that a run has read from the source, rows that delete their entity left out.

    :param rows: that were measured.
    :param sampled: rows in the sample.
    :param features: name to statistics.
    """

    rows: int
    sampled: int
    features: Mapping[str, FeatureStatistics]

    def to_pandas(self) -> pandas.DataFrame:
        """Return one line per feature; quantiles are columns ``1%`` to ``99%``."""
        with needs_materialize("for to_pandas()"):
            import pandas
        return pandas.DataFrame({name: _line(feature) for name, feature in self.features.items()}).transpose()


def _line(feature: FeatureStatistics) -> dict[str, Any]:
    commonest = feature.commonest[0] if feature.commonest else None
    return {
        "type": feature.type,
        "rows": feature.rows,
        "nulls": feature.nulls,
        "null_share": feature.null_share,
        "zeros": feature.zeros,
        "not_finite": feature.not_finite,
        "minimum": feature.minimum,
        "maximum": feature.maximum,
        "mean": feature.mean,
        "deviation": feature.deviation,
        **{f"{percent}%": (feature.quantiles or {}).get(percent) for percent in PERCENTS},
        "commonest": commonest.value if commonest else None,
        "commonest_share": commonest.share if commonest else None,
    }


def _with_time(value: Value) -> int | float | datetime:
    is_date = isinstance(value, date) and not isinstance(value, datetime)
    return datetime.combine(value, time()) if is_date else value  # type: ignore[arg-type, return-value]
