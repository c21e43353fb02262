"""A run that writes to a generation that is there already: an increment, a window, or a full run in place."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from online_features.checks.judging import failed, failure
from online_features.feature_view import FeatureView
from online_features.materialization._judgement import Judge
from online_features.materialization._options import RunOptions
from online_features.materialization._survey import Survey
from online_features.materialization._transfer import Copy, Transfer
from online_features.materialization.reporting.run_record import RunRecord
from online_features.online.generations.runs import RunClaims
from online_features.statistics.measurement import Measurement

if TYPE_CHECKING:
    from online_features.offline.query_plan import QueryPlan
    from online_features.online.generations.view_state import ViewState
    from online_features.online.write.online_run import OnlineRun
    from online_features.statistics.view_statistics import ViewStatistics


@dataclass(frozen=True)
class InPlace:
    """One run that writes in place.

    :param copy: copies the rows.
    """

    view: FeatureView
    online_run: OnlineRun
    transfer: Transfer
    copy: Copy
    options: RunOptions
    record: RunRecord

    def make(self, survey: Survey, query_plan: QueryPlan, state: ViewState, *, pointer: str | None) -> datetime | None:
        """Write the rows, judge and commit them, and return the watermark.

        :param state: of the generation.
        :param pointer: of the view; see :func:`.commit_run`.
        :raises ChecksFailedError: when the rows have failed checks; they are online, and the watermark has not moved.
        """
        plan, counter = survey.plan, self.transfer.counter
        clears = plan.clears or self.options.overwrite
        # Before the run removes them with the rows.
        before = self.online_run.statistics(state.generation) if self.view.checks and plan.kind == "full" else None
        measurement = Measurement(self.transfer.transformation.schema)
        with self.online_run.in_place(state.generation, is_alone=self.options.in_place) as writer:
            fingerprint = writer.fingerprint
            writer.prepare(state, fingerprint, clears=clears)
            self.copy(query_plan, writer, measurement)
            statistics = measurement.statistics()
            self._judge(survey, state, before, statistics)
            if self.options.prune:
                with self.transfer.source.lookup(self.transfer.transformation.source) as existing:
                    counter.entities_pruned = writer.prune(survey.horizon.claim, existing)
            watermark = writer.commit(
                RunClaims(
                    run={**self.record.succeeded(), "generation": state.generation},
                    fingerprint_before=fingerprint if state.fingerprint == fingerprint and not clears else None,
                    covered=plan.covered,
                    cursor=plan.cursor,
                    source=survey.note,
                    max_event_timestamp=counter.times.newest,
                    materialized_at=datetime.now(UTC),
                ),
                pointer=pointer,
            )
        if plan.kind == "full":
            self.online_run.keep_statistics(state.generation, statistics)
        return watermark

    def _judge(
        self, survey: Survey, state: ViewState, before: ViewStatistics | None, statistics: ViewStatistics
    ) -> None:
        """Judge the rows, and note the results in the record of the run."""
        counter = self.transfer.counter
        judge = Judge(
            view=self.view,
            online_run=self.online_run,
            counter=counter,
            at=survey.now,
            ignores=self.options.ignore_checks,
            statistics=statistics,
        )
        if survey.plan.kind == "full":
            rows = counter.counts.rows_written + counter.counts.rows_stale
            results = judge.whole((), state, before, rows=rows, newest=counter.times.newest)
        else:
            results = judge.increment()
        self.record.note_findings(statistics, results)
        if failed(results) and not self.options.ignore_checks:
            what = (
                f"feature view {self.view.name!r}: rows of this run have failed checks; they are online, but the "
                "watermark has not moved"
            )
            raise failure(
                what, results, f"correct {self.view.source.description} and run again, or with ignore_checks=True"
            )
