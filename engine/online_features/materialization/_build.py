"""A full run that builds a generation beside the published one, catches up with it, and is published in one step."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING

from online_features.checks.check import CheckResult
from online_features.checks.judging import failed, failure, guards
from online_features.common.instants import to_text
from online_features.common.log_lines import say
from online_features.errors import ChecksFailedError
from online_features.feature_view import FeatureView
from online_features.layouts.keyspace import FIRST_GENERATION
from online_features.materialization._catch_up import CatchUp, commit, publish_caught_up
from online_features.materialization._claim import Claim
from online_features.materialization._judgement import Judge
from online_features.materialization._options import RunOptions
from online_features.materialization._survey import Survey, Surveyor
from online_features.materialization._transfer import Copy, Transfer
from online_features.materialization.reporting.run_record import RunRecord
from online_features.materialization.reporting.run_warnings import run_warnings
from online_features.online.generations.switching import PublicationOutcome
from online_features.statistics.measurement import Measurement

if TYPE_CHECKING:
    from online_features.offline.query_plan import QueryPlan
    from online_features.online.generations.view_state import ViewState
    from online_features.online.store import OnlineStore
    from online_features.online.write.generation_writer import GenerationWriter
    from online_features.online.write.online_run import OnlineRun
    from online_features.statistics.view_statistics import ViewStatistics

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class BuildStart:
    """The state of a view when a build of it was registered, and the pushed rows that the build has carried over.

    :param synced: what the source was read in step with; see :func:`.sync_point`.
    :param pointer: of the view; see :attr:`.GenerationList.pointer`.
    :param base: the generation that was published, whose pushed rows were carried over.
    :param base_newest: event timestamp that it had then.
    :param horizon: of the source: pushed rows from before it should be there by now.
    :param now: when the source was looked at.
    :param rows: pushed rows that were carried over.
    :param newest: event timestamp of these.
    """

    synced: str
    pointer: tuple[str, int]
    base: str
    base_newest: datetime | None
    horizon: datetime
    now: datetime
    rows: int = 0
    newest: datetime | None = None


@dataclass
class Build:
    """One build of a generation.

    :param transfer: that catches up.
    :param generation: its id, once it is registered.
    :ivar is_published: whether readers see it.
    """

    view: FeatureView
    online: OnlineStore
    online_run: OnlineRun
    surveyor: Surveyor
    transfer: Transfer
    options: RunOptions
    record: RunRecord
    generation: str = ""
    is_published: bool = field(default=False, init=False)

    def make(self, survey: Survey, query_plan: QueryPlan, copy: Copy, *, published: ViewState) -> datetime | None:
        """Build a generation and publish it, and return its watermark.

        :param copy: copies the rows of the survey.
        :param published: the state of the published generation before the survey: what runs commit in it from then on
            has to be caught up.
        :raises ChecksFailedError: when it has failed checks; it stays, and can be read by its name.
        :raises PublishError: when it may not be published otherwise; it stays, too.
        """
        if not self.options.ignore_memory:
            self.online_run.make_room(published, query_plan.expected_rows)
        with self.online_run.build(self.options.origin) as writer:
            start = self.begin(writer, survey, published)
            # Measure only this copy: many rows of a catch-up replace others, and would count twice.
            measurement = Measurement(self.transfer.transformation.schema)
            copy(query_plan, writer, measurement)
            self.complete(writer, start, Claim.of(survey), measurement.statistics(), row_bytes=writer.row_bytes())
            if self.options.publish:
                self.publish(writer, start)
            return self.end(start)

    def begin(self, writer: GenerationWriter, survey: Survey, published: ViewState) -> BuildStart:
        """Carry over what was pushed to the published generation.

        :param published: its state before the survey.
        """
        self.generation = writer.generation
        say(log.info, f"Building generation {self.generation} of feature view {self.view.name!r}")
        # After the registration: another run may have published a generation before it.
        seen = self.online_run.generations()
        last = seen.last_published
        base = self.online_run.state(last.id if last else FIRST_GENERATION)
        start = BuildStart(
            synced=f"{published.generation} {published.commits}",  # as sync_point() returns it
            pointer=seen.pointer, base=base.generation, base_newest=base.max_event_timestamp,
            horizon=survey.horizon.claim, now=survey.now,
        )  # fmt: skip
        # Before the source's rows, which replace pushed ones with equal timestamps.
        return self._carry_pushes(writer, base, start)

    def complete(
        self, writer: GenerationWriter, start: BuildStart, claim: Claim, statistics: ViewStatistics, *,
        row_bytes: int | None,
    ) -> None:  # fmt: skip
        """Judge a build of which all rows are written, commit it, and mark it as ready.

        :param statistics: of the rows of the source.
        :param row_bytes: the mean size of a row in Redis; ``None`` if it is unknown.
        :raises ChecksFailedError: when it has failed checks.
        """
        base = replace(self.online_run.state(start.base), max_event_timestamp=start.base_newest)
        if self.options.prune:
            self.transfer.counter.entities_pruned = writer.count_left_out(base, before=start.horizon, now=start.now)
        rows = start.rows + self.transfer.counter.counts.rows_written
        newest = max(filter(None, [self.transfer.counter.times.newest, start.newest]), default=None)
        self.online_run.keep_statistics(self.generation, statistics, is_build=True)
        results = self._judge(statistics, base, rows=rows, newest=newest, at=start.now)
        refusal = failed(results) if not self.options.ignore_checks else ""
        commit(writer, covered=(None, claim.until), cursor=claim.cursor, note=claim.note, newest=newest)
        self.online_run.mark_ready(
            writer, synced=start.synced, rows=rows, row_bytes=row_bytes, is_pushed=base.is_pushed,
            refusal=refusal or None,
        )  # fmt: skip
        if refusal:
            # The build stays, for people to look at; the one that was refused before it does not.
            self.online_run.clean_up(self.online_run.generations(), self.options.keep_generations)
            raise self._refused(results, rows)

    def catch_up(self, writer: GenerationWriter) -> None:
        """Read what has come to the source since the build has read it.

        :raises PublishError: when the build would have to read all of history.
        """
        CatchUp(
            view=self.view, online=self.online, online_run=self.online_run, surveyor=self.surveyor,
            transfer=self.transfer, writer=writer,
        ).run()  # fmt: skip

    def end(self, start: BuildStart) -> datetime | None:
        """Record the run, and return the watermark of the build."""
        watermark = self.online_run.state(self.generation).watermark
        if self.is_published and self.online_run.state(start.base).layout == "feast":
            self.online_run.clear_first_generation()
        outcome = {"generation": self.generation, "published": self.is_published}
        self.online_run.end(
            {**self.record.succeeded(), **outcome, "watermark": to_text(watermark) if watermark else None}
        )
        return watermark

    def publish(self, writer: GenerationWriter, start: BuildStart) -> None:
        """Publish the build, after it has caught up with what runs have committed meanwhile.

        :raises PublishError: when it may not be published.
        """
        publication = publish_caught_up(
            lambda: self.online_run.publish(
                self.generation, start.pointer, self.options.origin, ignore_checks=self.options.ignore_checks
            ),
            catch_up=lambda _: self.catch_up(writer),
            closing=lambda _: self.online_run.closing(),
        )
        if publication.outcome == PublicationOutcome.HELD:
            say(
                log.warning,
                f"Feature view {self.view.name!r} was rolled back and is held, so generation {self.generation} is "
                "ready but not published -> publish it, or release the view",
            )
        else:
            self.is_published = True
            say(log.info, f"Published generation {self.generation} of feature view {self.view.name!r}")

    def _carry_pushes(self, writer: GenerationWriter, base: ViewState, start: BuildStart) -> BuildStart:
        """Return the start with what was carried over."""
        if not base.is_pushed:
            return start
        since = start.horizon if self.options.prune else None
        carried = writer.carry_pushes(base, since=since, now=start.now)
        name = f"Feature view {self.view.name!r}"
        say(log.info, f"{name}: carried over {carried.counts.rows_written} rows that were pushed")
        if carried.damaged:
            say(log.warning, f"{name}: {carried.damaged} pushed rows are damaged, so they are not carried over")
        if carried.missed:
            say(log.warning, f"{name}: generation {self.generation} cannot hold {carried.missed} pushed rows, whose "
                             "join keys or types are others")  # fmt: skip
        return replace(start, rows=carried.counts.rows_written, newest=carried.newest)

    def _judge(
        self, statistics: ViewStatistics, published: ViewState, *, rows: int, newest: datetime | None, at: datetime
    ) -> list[CheckResult]:
        """Judge the build, and note the results in the record of the run."""
        judge = Judge(
            view=self.view, online_run=self.online_run, counter=self.transfer.counter, at=at,
            statistics=statistics, ignores=self.options.ignore_checks,
        )  # fmt: skip
        before = self.online_run.statistics(published.generation) if self.view.checks else None
        guarding = guards(allow_empty=self.options.allow_empty)
        results = judge.whole(guarding, published, before, rows=rows, newest=newest)
        self.record.note_findings(statistics, results)
        return results

    def _refused(self, results: Sequence[CheckResult], rows: int) -> ChecksFailedError:
        """Return the error of a build that has failed checks, with a table of what was expected and found."""
        name, source = f"feature view {self.view.name!r}", self.view.source.description
        if rows:
            cure = f"correct {source} and run again, or publish it with ignore_checks=True"
        else:
            for warning in run_warnings(self.view, self.transfer.counter.counts, kind="full", had_rows=False):
                say(log.warning, f"F{name[1:]}: {warning}")
            cure = f"look at {source}, or give allow_empty=True"
        what = f"{name}: generation {self.generation} has failed checks, so it is not published"
        return failure(what, results, cure)
