"""A check, what it judges, and its result."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, fields
from datetime import date, datetime, timedelta
from difflib import get_close_matches
from enum import StrEnum
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, get_args

from online_features.errors import FeatureViewError
from online_features.schema import Column

if TYPE_CHECKING:
    from online_features.statistics.view_statistics import ViewStatistics

OnFailure = Literal["fail", "warn"]


class CheckOutcome(StrEnum):
    """Outcomes of a check. It is ``skipped`` where there is nothing to judge, or nothing to compare with."""

    PASSED = "passed"
    FAILED = "failed"
    WARNED = "warned"
    SKIPPED = "skipped"


@dataclass(frozen=True, kw_only=True)
class CheckResult:
    """The result of a check, in words.

    :param check: the check, as it was written.
    :param expected: what it requires.
    :param found: in the rows that were judged.
    :param published: the same in the published generation; empty if unknown.
    :param reason: why all or a part of the check was skipped; else empty.
    """

    check: str
    outcome: CheckOutcome
    expected: str
    found: str
    published: str = ""
    reason: str = ""

    def __str__(self) -> str:
        published = f", published {self.published}" if self.published else ""
        return f"check {self.check}: expected {self.expected}, found {self.found}{published}"

    def to_dict(self) -> dict[str, str]:
        """Return the fields as JSON-serializable values."""
        return {name: str(value) for name, value in vars(self).items()}


@dataclass(frozen=True, kw_only=True)
class DataSummary:
    """A summary of the rows of a generation, or of those that an increment brings.

    :param at: when the source was read.
    :param rows: that are online because of it; ``None`` if unknown.
    :param is_empty: whether no row is online because of it.
    :param rows_read: from the source, rejected ones included.
    :param rows_rejected: of these.
    :param newest_event: the newest event timestamp that is not in the future.
    :param furthest_event: the newest one that is.
    :param statistics: of the rows; ``None`` if they were not measured.
    :param is_increment: whether these are rows of an increment.
    """

    at: datetime
    rows: int | None
    is_empty: bool
    rows_read: int = 0
    rows_rejected: int = 0
    newest_event: datetime | None = None
    furthest_event: datetime | None = None
    statistics: ViewStatistics | None = None
    is_increment: bool = False


class Condition(NamedTuple):
    """One requirement of a check.

    :param expected: in words.
    :param is_met: ``None`` if it cannot be judged.
    :param reason: why not.
    """

    expected: str
    is_met: bool | None
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class Check(ABC):
    """Base class of checks.

    :param on_failure: ``"fail"`` or ``"warn"``.
    :raises FeatureViewError: naming the check and what is wrong with its parameters.
    """

    on_failure: OnFailure = "fail"

    name: ClassVar[str]
    positional: ClassVar[tuple[str, ...]] = ()  # parameters that are given without their names
    judges_increments: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.on_failure not in get_args(OnFailure):
            raise self._error(f"on_failure={self.on_failure!r} must be 'fail' or 'warn'")

    def __str__(self) -> str:
        given = ((field.name, getattr(self, field.name), field.default) for field in fields(self))
        parts = [
            _code(value) if name in self.positional else f"{name}={_code(value)}"
            for name, value, default in given
            if name != "on_failure" and (value is not default or name in self.positional)
        ]
        return f"{self.name}({', '.join(parts)})"

    @property
    def features(self) -> tuple[str, ...]:
        """The features that it judges."""
        return ()

    def check_features(self, names: Collection[str]) -> None:
        """Refuse features that are not among those of the view.

        :raises FeatureViewError: naming the check and the feature.
        """
        for feature in self.features:
            if feature not in names:
                near = get_close_matches(feature, names, 1)
                cure = f"did you mean {near[0]!r}?" if near else "name one of its features"
                raise self._error(f"the view has no feature {feature!r} -> {cure}")

    def check_columns(self, columns: Mapping[str, Column]) -> None:
        """Refuse features that the view does not have, or of types that the check cannot judge.

        :param columns: name to feature.
        :raises FeatureViewError: naming the check and the feature.
        """
        self.check_features(columns)

    @abstractmethod
    def judge(self, found: DataSummary, published: DataSummary | None) -> CheckResult:
        """Judge rows.

        :param published: a summary of the published generation; ``None`` while nothing is published.
        """

    def _outcome(self, met: list[bool | None]) -> CheckOutcome:
        if False in met:
            return CheckOutcome.FAILED if self.on_failure == "fail" else CheckOutcome.WARNED
        return CheckOutcome.PASSED if True in met else CheckOutcome.SKIPPED

    def _error(self, message: str) -> FeatureViewError:
        return FeatureViewError(f"check {self}: {message}")

    def _check_share(self, name: str) -> None:
        share = getattr(self, name)
        if share is not None and not (is_number(share) and 0 <= share <= 1):
            raise self._error(f"{name}={share!r} must be a share, from 0 to 1")

    def _check_amount(self, name: str) -> None:
        amount = getattr(self, name)
        if amount is not None and not (is_number(amount) and 0 <= amount < float("inf")):
            raise self._error(f"{name}={amount!r} must be a number, not negative")


@dataclass(frozen=True, kw_only=True)
class ConditionCheck(Check):
    """Base class of checks that require one condition or more."""

    def judge(self, found: DataSummary, published: DataSummary | None) -> CheckResult:
        """Judge rows by the conditions."""
        conditions = list(self._conditions(found, published))
        return CheckResult(
            check=str(self),
            outcome=self._outcome([condition.is_met for condition in conditions]),
            expected="; ".join(condition.expected for condition in conditions),
            found=self._shown(found),
            published="" if published is None else self._shown(published),
            reason="; ".join(dict.fromkeys(condition.reason for condition in conditions if condition.is_met is None)),
        )

    @abstractmethod
    def _conditions(self, found: DataSummary, published: DataSummary | None) -> Iterator[Condition]:
        """Return what the check requires, and whether it is met."""

    @abstractmethod
    def _shown(self, data: DataSummary) -> str:
        """Return what the check looks at, in words."""


def is_number(value: Any) -> bool:
    """Return whether this is an integer or a float, and not a boolean."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def number(value: Any) -> str:
    """Write a number or a time for people."""
    if isinstance(value, datetime):
        return value.isoformat(sep=" ")
    if isinstance(value, date):
        return value.isoformat()
    return f"{value:,}" if isinstance(value, int) else f"{value:,.6g}"


def percent(share: float) -> str:
    """Write a share for people."""
    return f"{share * 100:.4g} %"


def duration(value: timedelta) -> str:
    """Write a duration for people."""
    return str(value).removesuffix(", 0:00:00")


def not_compared(found: DataSummary) -> str:
    """Return why rows are not compared although the check asks for it, if no generation is published."""
    return "increments are not compared" if found.is_increment else "nothing is published"


def _code(value: Any) -> str:
    if isinstance(value, timedelta):
        return duration(value)
    return number(value) if isinstance(value, (date, datetime)) else getattr(value, "__qualname__", repr(value))
