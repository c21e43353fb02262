"""Checks of the values of one feature."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

from online_features.checks.check import (
    Condition,
    ConditionCheck,
    DataSummary,
    is_number,
    not_compared,
    number,
    percent,
)
from online_features.schema import Column, Encoding

if TYPE_CHECKING:
    from online_features.statistics.view_statistics import FeatureStatistics

Bound: TypeAlias = int | float | date | datetime

NUMBERS = frozenset({Encoding.INTEGER, Encoding.FLOAT, Encoding.NUMERIC})
ROUNDING = 1e-9  # relative: the mean of equal numbers depends on their order by less


@dataclass(frozen=True, kw_only=True)
class FeatureCheck(ConditionCheck):
    """Base class of checks of one feature."""

    feature: str

    positional: ClassVar[tuple[str, ...]] = ("feature",)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.feature, str) or not self.feature:
            raise self._error(f"{self.feature!r} must be the name of a feature")

    @property
    def features(self) -> tuple[str, ...]:
        """The feature."""
        return (self.feature,)

    def _statistics(self, data: DataSummary) -> FeatureStatistics | None:
        return data.statistics.features.get(self.feature) if data.statistics is not None else None

    def _baseline(self, found: DataSummary, published: DataSummary | None) -> FeatureStatistics | str:
        """Return the published statistics of the feature, or the reason why it cannot be compared."""
        if published is None:
            return not_compared(found)
        if published.statistics is None:
            return "the published generation was not measured"
        before, now = self._statistics(published), self._statistics(found)
        if before is None or now is None:
            return "the feature is new"
        if before.type != now.type:
            return f"its type was {before.type}"
        return before


@dataclass(frozen=True, kw_only=True)
class NullsCheck(FeatureCheck):
    """See :func:`.checks.nulls`."""

    at_most: float | None = None
    rise: float | None = None

    name: ClassVar[str] = "nulls"
    judges_increments: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.at_most is None and self.rise is None:
            raise self._error("give at_most=, rise= or both")
        self._check_share("at_most")
        self._check_share("rise")

    def _conditions(self, found: DataSummary, published: DataSummary | None) -> Iterator[Condition]:
        now = self._statistics(found)
        share = now.null_share if now is not None and now.rows else None
        if self.at_most is not None:
            yield _judged(f"at most {percent(self.at_most)}", share, lambda share: share <= self.at_most)
        if self.rise is not None:
            expected = f"at most {percent(self.rise)} more"
            before = self._baseline(found, published)
            if isinstance(before, str):
                yield Condition(expected, None, before)
            else:
                limit = before.null_share + self.rise
                yield _judged(expected, share, lambda share: share <= limit or math.isclose(share, limit))

    def _shown(self, data: DataSummary) -> str:
        found = self._statistics(data)
        return percent(found.null_share) if found is not None and found.rows else ""


@dataclass(frozen=True, kw_only=True)
class WithinCheck(FeatureCheck):
    """See :func:`.checks.within`."""

    at_least: Bound | None = None
    at_most: Bound | None = None

    name: ClassVar[str] = "within"
    positional: ClassVar[tuple[str, ...]] = ("feature", "at_least", "at_most")

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self._bounds:
            raise self._error("give a least value, a greatest value or both")
        for bound in self._bounds:
            if not isinstance(bound, date) and not (is_number(bound) and not math.isnan(bound)):
                raise self._error(f"{bound!r} must be a number, a date or a datetime")
        if len({_kinds(bound) for bound in self._bounds}) > 1:
            raise self._error("its bounds must be of one kind: numbers, dates, or datetimes with or without time zone")
        if len(self._bounds) == 2 and self._bounds[0] > self._bounds[1]:  # noqa: PLR2004
            raise self._error("its least value is above its greatest")

    def check_columns(self, columns: Mapping[str, Column]) -> None:
        """Refuse a feature that the bounds do not fit."""
        super().check_columns(columns)
        column = columns[self.feature]
        if column.encoding not in _kinds(self._bounds[0]):
            raise self._error(f"feature {self.feature!r} is {column.type}, which these bounds do not fit")

    @property
    def _bounds(self) -> list[Any]:
        return [bound for bound in (self.at_least, self.at_most) if bound is not None]

    def _conditions(self, found: DataSummary, published: DataSummary | None) -> Iterator[Condition]:  # noqa: ARG002
        low, high = ("any" if bound is None else number(bound) for bound in (self.at_least, self.at_most))
        expected, now = f"{low} to {high}", self._statistics(found)
        if now is None or (now.minimum is None and not now.not_finite):
            yield Condition(expected, None, "it has no values")
        else:
            yield Condition(expected, not now.not_finite and self._holds(now.minimum, now.maximum))

    def _holds(self, least: Any, greatest: Any) -> bool:
        return (self.at_least is None or least >= self.at_least) and (self.at_most is None or greatest <= self.at_most)

    def _shown(self, data: DataSummary) -> str:
        found = self._statistics(data)
        if found is None or found.minimum is None or found.maximum is None:
            return "not finite" if found is not None and found.not_finite else "no values"
        beside = f", {number(found.not_finite)} not finite" if found.not_finite else ""
        return f"{number(found.minimum)} to {number(found.maximum)}{beside}"


@dataclass(frozen=True, kw_only=True)
class MeanCheck(FeatureCheck):
    """See :func:`.checks.mean`."""

    shift: float

    name: ClassVar[str] = "mean"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.shift is None:
            raise self._error("give shift=")
        self._check_amount("shift")

    def check_columns(self, columns: Mapping[str, Column]) -> None:
        """Refuse a feature that has no mean."""
        super().check_columns(columns)
        column = columns[self.feature]
        if column.encoding not in NUMBERS | {Encoding.BOOLEAN}:
            raise self._error(f"feature {self.feature!r} is {column.type}, which has no mean")

    def _conditions(self, found: DataSummary, published: DataSummary | None) -> Iterator[Condition]:
        before = self._baseline(found, published)
        expected = f"shifted by at most {number(self.shift)} deviations"
        if isinstance(before, str):
            yield Condition(expected, None, before)
        elif before.mean is None or before.deviation is None:
            yield Condition(expected, None, "the published values have no deviation")
        else:
            now = self._statistics(found)
            mean = now.mean if now is not None else None
            most = self.shift * before.deviation
            is_near = mean is not None and math.isclose(mean, before.mean, rel_tol=ROUNDING, abs_tol=most)
            yield Condition(expected, is_near)

    def _shown(self, data: DataSummary) -> str:
        found = self._statistics(data)
        if found is None or found.mean is None:
            return "no values"
        return number(found.mean) + (f" ± {number(found.deviation)}" if found.deviation is not None else "")


def _judged(expected: str, share: float | None, is_met: Any) -> Condition:
    return Condition(expected, None, "no rows were measured") if share is None else Condition(expected, is_met(share))


def _kinds(bound: Any) -> frozenset[Encoding]:
    """Return the encodings whose values can be compared with a bound."""
    if isinstance(bound, datetime):
        return frozenset({Encoding.TIMESTAMP if bound.tzinfo is None else Encoding.INSTANT})
    return frozenset({Encoding.DATE}) if isinstance(bound, date) else NUMBERS
