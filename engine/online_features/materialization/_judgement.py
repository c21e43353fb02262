"""Judges the rows of a run by the checks of its view, before readers see them or the watermark moves."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from online_features.checks.check import Check, CheckOutcome, CheckResult, DataSummary
from online_features.checks.judging import judge
from online_features.common.log_lines import say
from online_features.feature_view import FeatureView
from online_features.layouts.keyspace import FIRST_GENERATION
from online_features.materialization.reporting.progress import RunCounter

if TYPE_CHECKING:
    from online_features.online.generations.view_state import ViewState
    from online_features.online.write.online_run import OnlineRun
    from online_features.statistics.view_statistics import ViewStatistics

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Judge:
    """Judges the rows of a run, and warns of what does not pass.

    :param at: when the source was read.
    :param statistics: of the rows that the run has read.
    :param ignores: whether failures only warn.
    """

    view: FeatureView
    online_run: OnlineRun
    counter: RunCounter
    at: datetime
    statistics: ViewStatistics
    ignores: bool

    def increment(self) -> list[CheckResult]:
        """Judge the rows of an increment or a window."""
        rows = self.counter.counts.rows_written
        return self._judge(self.view.checks, self._found(rows, self.counter.times.newest, is_increment=True), None)

    def whole(
        self, guards: Iterable[Check], published: ViewState, before: ViewStatistics | None, *, rows: int,
        newest: datetime | None,
    ) -> list[CheckResult]:  # fmt: skip
        """Judge all rows of a view, beside those of the published generation.

        :param published: the state of that generation.
        :param before: its statistics.
        :param rows: that are online because of the run.
        :param newest: event timestamp of these.
        """
        baseline = None
        if published.generation != FIRST_GENERATION or published.schema is not None:
            baseline = DataSummary(
                at=self.at,
                rows=published.rows if published.rows is not None or before is None else before.rows,
                # Ask Redis for published rows only where the run brings none: it takes a scan.
                is_empty=not rows and not self.online_run.has_rows(published),
                newest_event=published.max_event_timestamp,
                statistics=before,
            )
        return self._judge((*guards, *self.view.checks), self._found(rows, newest, is_increment=False), baseline)

    def _found(self, rows: int, newest: datetime | None, *, is_increment: bool) -> DataSummary:
        counts = self.counter.counts
        return DataSummary(
            at=self.at,
            rows=rows,
            is_empty=not rows,
            rows_read=counts.rows_read,
            rows_rejected=counts.rows_rejected,
            newest_event=newest,
            furthest_event=self.counter.times.furthest,
            statistics=self.statistics,
            is_increment=is_increment,
        )

    def _judge(self, checks: Iterable[Check], found: DataSummary, published: DataSummary | None) -> list[CheckResult]:
        results = judge(checks, found, published)
        for result in results:
            if result.outcome == CheckOutcome.WARNED or (result.outcome == CheckOutcome.FAILED and self.ignores):
                say(log.warning, f"Feature view {self.view.name!r}: {result} -> look at {self.view.source.description}")
        return results
