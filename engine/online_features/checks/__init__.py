"""Checks of the data of a feature view, by which a new generation is judged before anybody reads it.

::

    from online_features import checks

    FeatureView(…, checks=[checks.rows(at_least=1_000, change=0.2), checks.nulls("dep_delay", at_most=0.05)])

A check takes ``on_failure="warn"`` where the data may go online nevertheless; the default is ``"fail"``. Parameters are
checked at once, and features when the view is made: a contradiction raises :class:`~online_features.FeatureViewError`.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from online_features.checks.check import Check, CheckOutcome, CheckResult, DataSummary, OnFailure
from online_features.checks.feature_checks import Bound, MeanCheck, NullsCheck, WithinCheck
from online_features.checks.function_check import FunctionCheck
from online_features.checks.row_checks import NewestEventCheck, RejectedCheck, RowsCheck

__all__ = [
    "Check", "CheckOutcome", "CheckResult", "DataSummary", "holds", "mean", "newest_event", "nulls", "rejected", "rows",
    "within",
]  # fmt: skip


def rows(*, at_least: int | None = None, change: float | None = None, on_failure: OnFailure = "fail") -> Check:
    """Check how many rows a build puts online.

    :param at_least: the fewest rows.
    :param change: by what share of the published rows they may differ, up or down.
    """
    return RowsCheck(at_least=at_least, change=change, on_failure=on_failure)


def nulls(
    feature: str, *, at_most: float | None = None, rise: float | None = None, on_failure: OnFailure = "fail"
) -> Check:
    """Check the share of rows without a value; also of increments, as far as ``at_most`` says.

    :param at_most: the greatest share, from 0 to 1.
    :param rise: by how much the share may exceed that of the published generation: 0.02 allows 5 % after 3 %.
    """
    return NullsCheck(feature=feature, at_most=at_most, rise=rise, on_failure=on_failure)


def within(
    feature: str, at_least: Bound | None = None, at_most: Bound | None = None, *, on_failure: OnFailure = "fail"
) -> Check:
    """Check that all values are in a range; NaN and infinite values are in none.

    :param at_least: the least value: a number, or for times a ``date`` or ``datetime``; ``None`` for no bound.
    :param at_most: the greatest value.
    """
    return WithinCheck(feature=feature, at_least=at_least, at_most=at_most, on_failure=on_failure)


def mean(feature: str, *, shift: float, on_failure: OnFailure = "fail") -> Check:
    """Check how far the mean is from that of the published generation.

    :param shift: the greatest distance, in standard deviations of the published values.
    """
    return MeanCheck(feature=feature, shift=shift, on_failure=on_failure)


def rejected(*, at_most: float, on_failure: OnFailure = "fail") -> Check:
    """Check the share of the rows read that were rejected, also of increments.

    :param at_most: the greatest share, from 0 to 1.
    """
    return RejectedCheck(at_most=at_most, on_failure=on_failure)


def newest_event(
    *, max_age: timedelta | None = None, not_in_future: bool = False, not_older: bool = False,
    on_failure: OnFailure = "fail",
) -> Check:  # fmt: skip
    """Check the newest event timestamp.

    :param max_age: how old it may be when the source is read.
    :param not_in_future: whether none may be more than five minutes in the future.
    :param not_older: whether it may not be before that of the published generation.
    """
    return NewestEventCheck(max_age=max_age, not_in_future=not_in_future, not_older=not_older, on_failure=on_failure)


def holds(function: Callable[[Any, Any], str | None], *, on_failure: OnFailure = "fail") -> Check:
    """Check by a function of a module.

    :param function: takes the :class:`~online_features.ViewStatistics` of the build, and those of the published
        generation or ``None``; returns ``None``, or what is wrong. An error that it raises is a failure, too.
    """
    return FunctionCheck(function=function, on_failure=on_failure)
