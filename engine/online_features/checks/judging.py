"""Judge rows by all checks of a view, and show the results as a table."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from itertools import zip_longest

from online_features.checks.check import Check, CheckOutcome, CheckResult, DataSummary
from online_features.checks.row_checks import EmptyGuard, HalfGuard
from online_features.errors import ChecksFailedError

# The columns of a table, and the most characters of each: with three gaps, a line has 110.
WIDTHS = {"check": 34, "expected": 28, "found": 21, "published": 21}
GAP = "  "


def guards(*, allow_empty: bool) -> tuple[Check, ...]:
    """Return the checks of builds that are always on.

    :param allow_empty: whether a build without rows may replace rows.
    """
    return (EmptyGuard(on_failure="warn" if allow_empty else "fail"), HalfGuard(on_failure="warn"))


def judge(checks: Iterable[Check], found: DataSummary, published: DataSummary | None) -> list[CheckResult]:
    """Return the result of each check that judges such rows."""
    return [check.judge(found, published) for check in checks if check.judges_increments or not found.is_increment]


def failed(results: Iterable[CheckResult]) -> str:
    """Return the checks that have failed, in words; empty if none has."""
    return ", ".join(result.check for result in results if result.outcome == CheckOutcome.FAILED)


def failure(what: str, results: Sequence[CheckResult], cure: str) -> ChecksFailedError:
    """Return the error of rows that have failed checks, with a table of these.

    :param what: was judged, and what follows.
    :param cure: what helps.
    """
    error = ChecksFailedError(f"{what}\n{table(results)}\n-> {cure}")
    error.results = tuple(results)
    return error


def table(results: Iterable[CheckResult]) -> str:
    """Return a table of the checks that failed, then of those that warn; long cells take several lines."""
    shown = [
        result for outcome in (CheckOutcome.FAILED, CheckOutcome.WARNED)
        for result in results if result.outcome == outcome
    ]  # fmt: skip
    rows = [list(WIDTHS), *([getattr(result, name) for name in WIDTHS] for result in shown)]
    cells = [
        [
            textwrap.wrap(cell, width, break_on_hyphens=False) or [""]  # a date stays whole
            for cell, width in zip(row, WIDTHS.values(), strict=True)
        ]
        for row in rows
    ]
    widths = [max(len(line) for row in cells for line in row[i]) for i in range(len(WIDTHS))]
    return "\n".join(
        GAP.join(part.ljust(width) for part, width in zip(line, widths, strict=True)).rstrip()
        for row in cells
        for line in zip_longest(*row, fillvalue="")
    )
