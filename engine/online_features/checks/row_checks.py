"""Checks of the rows as a whole, and the guards that every view has."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import ClassVar

from online_features.checks.check import Condition, ConditionCheck, DataSummary, duration, not_compared, number, percent

HALF = 0.5


class _RowCount(ConditionCheck):
    """Base class of checks of how many rows there are."""

    def _compared(
        self, expected: str, found: DataSummary, published: DataSummary | None, is_met: Callable[[int, int], bool]
    ) -> Condition:
        """Return a condition on the rows found and those published."""
        if published is None:
            return Condition(expected, None, not_compared(found))
        if not published.rows:
            return Condition(expected, None, "the published generation has no rows, or they were not counted")
        return Condition(expected, is_met(found.rows or 0, published.rows))

    def _shown(self, data: DataSummary) -> str:
        if data.rows is not None:
            return number(data.rows)
        return "none" if data.is_empty else "some"


@dataclass(frozen=True, kw_only=True)
class RowsCheck(_RowCount):
    """See :func:`.checks.rows`."""

    at_least: int | None = None
    change: float | None = None

    name: ClassVar[str] = "rows"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.at_least is None and self.change is None:
            raise self._error("give at_least=, change= or both")
        if self.at_least is not None and type(self.at_least) is not int:
            raise self._error(f"at_least={self.at_least!r} must be a number of rows")
        self._check_amount("at_least")
        self._check_amount("change")

    def _conditions(self, found: DataSummary, published: DataSummary | None) -> Iterator[Condition]:
        if self.at_least is not None:
            yield Condition(f"at least {number(self.at_least)}", (found.rows or 0) >= self.at_least)
        if (change := self.change) is not None:
            expected = f"changed by at most {percent(change)}"
            yield self._compared(expected, found, published, lambda now, before: abs(now - before) <= change * before)


@dataclass(frozen=True, kw_only=True)
class EmptyGuard(_RowCount):
    """A build without rows does not replace rows."""

    name: ClassVar[str] = "not_empty"

    def _conditions(self, found: DataSummary, published: DataSummary | None) -> Iterator[Condition]:
        yield Condition("rows, where there are some", not found.is_empty or published is None or published.is_empty)


@dataclass(frozen=True, kw_only=True)
class HalfGuard(_RowCount):
    """A build has half of the published rows or more."""

    name: ClassVar[str] = "not_under_half"

    def _conditions(self, found: DataSummary, published: DataSummary | None) -> Iterator[Condition]:
        expected = "half of the rows or more"
        yield self._compared(expected, found, published, lambda now, before: now >= HALF * before)


@dataclass(frozen=True, kw_only=True)
class RejectedCheck(ConditionCheck):
    """See :func:`.checks.rejected`."""

    at_most: float

    name: ClassVar[str] = "rejected"
    judges_increments: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.at_most is None:
            raise self._error("give at_most=")
        self._check_share("at_most")

    def _conditions(self, found: DataSummary, published: DataSummary | None) -> Iterator[Condition]:  # noqa: ARG002
        expected = f"at most {percent(self.at_most)}"
        if not found.rows_read:
            yield Condition(expected, None, "no rows were read")
        else:
            yield Condition(expected, found.rows_rejected <= self.at_most * found.rows_read)

    def _shown(self, data: DataSummary) -> str:
        if not data.rows_read:
            return ""
        return f"{percent(data.rows_rejected / data.rows_read)} of {number(data.rows_read)}"


@dataclass(frozen=True, kw_only=True)
class NewestEventCheck(ConditionCheck):
    """See :func:`.checks.newest_event`."""

    max_age: timedelta | None = None
    not_in_future: bool = False
    not_older: bool = False

    name: ClassVar[str] = "newest_event"

    def __post_init__(self) -> None:
        super().__post_init__()
        for flag in ("not_in_future", "not_older"):
            if type(getattr(self, flag)) is not bool:
                raise self._error(f"{flag}={getattr(self, flag)!r} must be True or False")
        if self.max_age is None and not self.not_in_future and not self.not_older:
            raise self._error("give max_age=, not_in_future=True or not_older=True")
        if self.max_age is not None and not (isinstance(self.max_age, timedelta) and self.max_age > timedelta(0)):
            raise self._error(f"max_age={self.max_age!r} must be a timedelta above zero")

    def _conditions(self, found: DataSummary, published: DataSummary | None) -> Iterator[Condition]:
        newest = found.newest_event
        if self.max_age is not None:
            is_met = newest is not None and found.at - newest <= self.max_age
            yield Condition(f"at most {duration(self.max_age)} old", is_met)
        if self.not_in_future:
            yield Condition("not in the future", found.furthest_event is None)
        if self.not_older:
            expected = "not before the published one"
            if published is None:
                yield Condition(expected, None, not_compared(found))
            elif published.newest_event is None:
                yield Condition(expected, None, "the published generation has no event timestamp")
            else:
                yield Condition(expected, newest is not None and newest >= published.newest_event)

    def _shown(self, data: DataSummary) -> str:
        newest = [number(data.newest_event)] if data.newest_event else []
        future = [f"in the future: {number(data.furthest_event)}"] if data.furthest_event else []
        return ", ".join(newest + future) or "none"
